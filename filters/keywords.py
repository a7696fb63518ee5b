r"""Words that ask for what a text model cannot do: pictures, files, going somewhere.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `bootstrap_instructions.py`; `ALPACA`
adds the five words of Stanford Alpaca's `generate_instruction.py`. As published, a word is found in
any case, between Python's Unicode word boundaries, after `str.capitalize()`: a hyphen or an
apostrophe ends a word (map-reduce, the map's), an underscore, a digit or a Chinese character does
not (map_reduce, file2, 这个file给), a dotless i counts as i, a long s as s. Plots, drawing, graphic
and mapping are not on the list.

Where we differ: Chinese does not space its words, so rows written mostly in Han, kana or hangul are
searched for `cjk_words` as well, anywhere in the text; an empty list leaves the published ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import polars as pl

from filters.script import is_han_kana_hangul
from filters.verdict import verdict

PUBLISHED = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files"),
    *("map", "maps", "draw", "plot", "go to"),
)
ALPACA = (*PUBLISHED, "video", "audio", "music", "flowchart", "diagram")
CHINESE = ("图片", "图像", "照片", "图表", "地图", "文件", "绘制", "画图", "画出", "画一")

# what title-casing or re.IGNORECASE turns into an ASCII letter and str.lower() does not
UNUSUAL = re.compile("[ßİıŉſǰẖ-ẚﬀ-ﬆ]")


def keywords(
    instruction: pl.Series,
    *,
    words: Sequence[str] = PUBLISHED,
    cjk_words: Sequence[str] = CHINESE,
) -> pl.DataFrame:
    """Drop instructions that contain one of `words`, or of `cjk_words` where those apply.

    A space in a word stands for any whitespace; a null has no words. Returns one row an entry, in
    order: `reason` (String, null where the row is kept) and `detail` (String: the word found, the
    first in the order of the lists; null where there is none).
    """
    patterns = _patterns(tuple(words))
    found = [_find(text, patterns, cjk_words) if text else None for text in instruction.to_list()]
    return verdict([word and "keyword" for word in found], found)


Pattern = tuple[str, str, re.Pattern[str]]


@lru_cache
def _patterns(words: tuple[str, ...]) -> list[Pattern]:
    """Give each word with its longest part, lower-cased, and its pattern."""
    found = []
    for word in words:
        parts = word.split()
        text = r"\s+".join(map(re.escape, parts))
        pattern = re.compile(rf"(?<!\w){text}(?!\w)", re.IGNORECASE)
        found.append((word, max(parts, key=len).lower(), pattern))
    return found


def _find(text: str, patterns: list[Pattern], cjk_words: Sequence[str]) -> str | None:
    lower = text.lower()
    is_unusual = not text.isascii() and UNUSUAL.search(text) is not None
    for word, part, pattern in patterns:
        # looking for the part first is thirty times faster where it is not there
        if (part in lower or is_unusual) and pattern.search(text.strip().capitalize()):
            return word
    if cjk_words and is_han_kana_hangul(text):
        return next((word for word in cjk_words if word in text), None)
    return None
