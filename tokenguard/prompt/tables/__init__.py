"""JSON in fewer tokens: without blanks, and with lists of like objects as tables that read back to the same value.

    {"id": 7, "flights": [{"number": "HAT1", "price": 152}, {"number": "HAT2", "price": 103}]}

becomes

    {"id":7,"flights":[2]{number,price}
    HAT1,152
    HAT2,103
    }

docs/tables.md describes the form. What cannot be said again exactly is refused: None, and the text goes as it came.
"""

from tokenguard.prompt.tables.read import is_folded, unfold
from tokenguard.prompt.tables.strict import minify
from tokenguard.prompt.tables.write import fold

__all__ = ["fold", "is_folded", "minify", "unfold"]
