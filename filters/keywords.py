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

SPACES = r"[\s\x1c-\x1f]+"
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
    hits = instruction.str.contains(_anywhere(tuple(patterns))).to_list()
    found: list[str | None] = [None] * len(instruction)
    for at, (text, hit) in enumerate(zip(instruction.to_list(), hits, strict=True)):
        if not text or (not hit and text.isascii()):
            continue
        if hit or UNUSUAL.search(text):
            found[at] = _first_word(text, patterns)
        if not found[at] and cjk_words and is_han_kana_hangul(text):
            found[at] = next((word for word in cjk_words if word in text), None)
    return verdict([word and "keyword" for word in found], found)


def _first_word(text: str, patterns: dict[str, re.Pattern[str]]) -> str | None:
    as_published = " ".join(text.split()).capitalize()
    folded = as_published.lower().replace("ı", "i").replace("ſ", "s")
    for word, pattern in patterns.items():
        # asking for the plain word first is thirty times faster where it is not there
        if word in folded and pattern.search(as_published):
            return word
    return None


@lru_cache
def _patterns(words: tuple[str, ...]) -> dict[str, re.Pattern[str]]:
    """Give each word, lower-cased and with single spaces, and its pattern."""
    plain = [" ".join(word.lower().split()) for word in words]
    return {word: re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE) for word in plain}


@lru_cache
def _anywhere(words: tuple[str, ...]) -> str:
    """Give a pattern for Rust that is met by every row with one of `words`, and by some more."""
    stems = [word for word in words if not any(o in word for o in words if o != word)]
    if not stems:
        return "[a&&b]"
    texts = (re.escape(stem).replace(r"\ ", SPACES) for stem in stems)
    return f"(?i:{'|'.join(texts)})"
