"""What models cost: usage shapes, price sources, and the book that makes a dated card of a model's name."""
