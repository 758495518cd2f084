"""Text of tools in fewer tokens: terminal codes resolved, path lists as trees, logs as templates; exact, or left alone.

What a model may quote or edit (files, search listings, diffs, source code) stays as it is, byte for byte. docs/lines.md
describes the forms.
"""

from tokenguard.prompt.lines.cleaning import clean
from tokenguard.prompt.lines.folding import fold, is_folded, unfold
from tokenguard.prompt.lines.kinds import Kind, kind_of

__all__ = ["Kind", "clean", "fold", "is_folded", "kind_of", "unfold"]
