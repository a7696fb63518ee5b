"""What teachers write into a field that has nothing in it: none, N/A, <noinput>."""

from __future__ import annotations

import re

NONE = re.compile(
    r"[<(\[]?\s*(?:none|no[ _-]?input|n/?a|no constraints?|(?:无|没有)(?:输入)?)\s*"
    r"[>)\]]?\s*[.。]?|",
    re.IGNORECASE,
)


def says_none(text: str) -> bool:
    """Whether a field is empty or says that it is.

    >>> says_none("<noinput>"), says_none("N/A"), says_none(" none. "), says_none("none of them")
    (True, True, True, False)
    """
    return NONE.fullmatch(text.strip()) is not None
