"""Which instructions ask for verse, whose lines end and repeat as those of prose do not."""

from __future__ import annotations

import re

VERSE = re.compile(
    r"\bpoe[mt]|\bhaiku|\bverse|\bsong|\blyric|\brap\b|\bchorus|\bsonnet|\blimerick|\brhym|\bjingle"
    r"|\bballad|\banthem|\bchant|\bhymn|诗|(?<!谷)歌(?!手|星)|首\S{0,8}[词曲]|词牌|宋词|填词|韵|说唱|曲子|作曲|戏曲",
    re.IGNORECASE,
)


def asks_for_verse(instruction: str) -> bool:
    """Whether a poem, a song or the like is to be written.

    >>> asks_for_verse("Write a short poem."), asks_for_verse("写一首歌"), asks_for_verse("查词")
    (True, True, False)
    """
    return VERSE.search(instruction) is not None
