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

# What lower-casing, title-casing or Python's re.IGNORECASE may turn into an ASCII letter, and
# Rust's regular expressions not: rows with one of these are left to Python.
UNUSUAL = "[ßİıŉſǰẖ-ẚ\u212aﬀ-ﬆ]"


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
    words, cjk_words = tuple(words), tuple(cjk_words)
    reasons: list[str | None] = [None] * len(instruction)
    details: list[str | None] = [None] * len(instruction)
    mask = instruction.str.contains(_prefilter(words, cjk_words))
    suspects = [at for at, hit in enumerate(mask.to_list()) if hit]
    for at, text in zip(suspects, instruction.gather(suspects).to_list(), strict=True):
        details[at] = _first_word(text, words, cjk_words)
        reasons[at] = "keyword" if details[at] else None
    return verdict(reasons, details)


def _first_word(text: str, words: tuple[str, ...], cjk_words: tuple[str, ...]) -> str | None:
    any_word, each_word = _patterns(words)
    as_published = text.strip().capitalize()
    if any_word.search(as_published):
        return next(word for word, found in each_word if found.search(as_published))
    if is_han_kana_hangul(text):
        return next((word for word in cjk_words if word in text), None)
    return None


@lru_cache
def _patterns(words: tuple[str, ...]) -> tuple[re.Pattern[str], list[tuple[str, re.Pattern[str]]]]:
    """Give the pattern of any word and those of each, as Python's `re` reads them."""

    def between(text: str) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w)(?:{text})(?!\w)", re.IGNORECASE)

    texts = [r"\s+".join(map(re.escape, word.split())) for word in words]
    any_word = between("|".join(texts)) if texts else re.compile("(?!)")
    return any_word, [(word, between(text)) for word, text in zip(words, texts, strict=True)]


@lru_cache
def _prefilter(words: tuple[str, ...], cjk_words: tuple[str, ...]) -> str:
    """Give a pattern for Rust that matches every row in which Python finds a word, and few more."""
    parts = [re.escape(word) for word in cjk_words]
    for word in words:
        text = r"[\s\x1c-\x1f]+".join(map(re.escape, word.split()))
        before, after = (
            r"(?-u:\b)" if re.match(r"[a-z0-9]", end, re.I | re.A) else ""
            for end in (word[0], word[-1])
        )
        parts.append(f"(?i:{before}{text}{after})")
    return "|".join([*parts, UNUSUAL])
