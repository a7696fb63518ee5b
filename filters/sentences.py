"""Texts as sentences, and sentences as words: English and Chinese in the same rule."""

from __future__ import annotations

import re

SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
TOKEN = rf"[{SIGNS}]|[^\s{SIGNS}]+"
"""A word, or a sign of Han, kana or hangul; in a syntax that Rust's regular expressions share."""
END = re.compile(r"""(?<=[。！？])["'”’」』）)]*|(?<=[.!?])["'”’)\]]*\s+|(?<=…)\s+|[\r\n]+""")


def sentences(text: str) -> list[str]:
    r"""Split a text at line breaks and behind the marks that end a sentence; no empty ones.

    An abbreviation ends one too: what is counted here are shares, not sentences.

    >>> sentences("It rains. Take a coat!\n下雨了。带伞吧")
    ['It rains.', 'Take a coat!', '下雨了。', '带伞吧']
    """
    return [one for one in (part.strip() for part in END.split(text)) if one]
