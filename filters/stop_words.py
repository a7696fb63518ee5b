"""Answers that say nothing: only punctuation and stop words.

Source: Xu et al. 2023, "WizardLM" (arXiv:2304.12244), section 3.2, the third elimination rule; no
list was published. For English it is the usual list of 179 words. Punctuation is what Unicode
calls punctuation or a symbol. A text in Han, kana or hangul is judged sign by sign, with particles
and pronouns of Chinese.
"""

from __future__ import annotations

import unicodedata

import polars as pl

from filters.script import is_han_kana_hangul
from filters.verdict import verdict

ENGLISH = frozenset({
    "a", "about", "above", "after", "again", "against", "ain", "all", "am", "an", "and", "any",
    "are", "aren", "aren't", "as", "at", "be", "because", "been", "before", "being", "below",
    "between", "both", "but", "by", "can", "couldn", "couldn't", "d", "did", "didn", "didn't",
    "do", "does", "doesn", "doesn't", "doing", "don", "don't", "down", "during", "each", "few",
    "for", "from", "further", "had", "hadn", "hadn't", "has", "hasn", "hasn't", "have", "haven",
    "haven't", "having", "he", "her", "here", "hers", "herself", "him", "himself", "his", "how",
    "i", "if", "in", "into", "is", "isn", "isn't", "it", "it's", "its", "itself", "just", "ll",
    "m", "ma", "me", "mightn", "mightn't", "more", "most", "mustn", "mustn't", "my", "myself",
    "needn", "needn't", "no", "nor", "not", "now", "o", "of", "off", "on", "once", "only", "or",
    "other", "our", "ours", "ourselves", "out", "over", "own", "re", "s", "same", "shan",
    "shan't", "she", "she's", "should", "should've", "shouldn", "shouldn't", "so", "some",
    "such", "t", "than", "that", "that'll", "the", "their", "theirs", "them", "themselves",
    "then", "there", "these", "they", "this", "those", "through", "to", "too", "under", "until",
    "up", "ve", "very", "was", "wasn", "wasn't", "we", "were", "weren", "weren't", "what",
    "when", "where", "which", "while", "who", "whom", "why", "will", "with", "won", "won't",
    "wouldn", "wouldn't", "y", "you", "you'd", "you'll", "you're", "you've", "your", "yours",
    "yourself", "yourselves",
})  # fmt: skip
CHINESE = frozenset("的了是在我你您他她它们这那哪和与也就都而及或个一不吗呢吧啊呀哦嗯着过把被给对")
VARIANTS = "\ufe0e\ufe0f"  # whether the symbol before is drawn as text or as a picture


def only_stop_words(output: pl.Series) -> pl.DataFrame:
    """Drop answers that hold nothing but punctuation and stop words, empty ones among them.

    A null is empty. Returns one row an entry, in order: `reason` (String, null where the row is
    kept) and `detail` (String, how the answer begins; null where the row is kept).
    """
    found = [judge(text or "") for text in output.to_list()]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def judge(text: str) -> tuple[str | None, str | None]:
    """Reason and detail for one answer; two nulls where it says something."""
    if is_han_kana_hangul(text):
        is_empty = CHINESE.issuperset(sign for sign in text if not _is_mark(sign))
    else:
        words = (_bare(word.lower().replace("\u2019", "'")) for word in text.split())
        is_empty = all(word in ENGLISH for word in words if word)
    return ("only_stop_words", text[:100]) if is_empty else (None, None)


def _bare(word: str) -> str:
    """A word without the marks at both its ends."""
    letters = [at for at, sign in enumerate(word) if not _is_mark(sign)]
    return word[letters[0] : letters[-1] + 1] if letters else ""


def _is_mark(sign: str) -> bool:
    """Punctuation, symbols, blanks and what is not seen, such as the variants of an emoji."""
    return unicodedata.category(sign)[0] in "PSZC" or sign in VARIANTS
