"""ROUGE-L between two instructions: the tokens, the score, and when it makes a duplicate.

ROUGE-L's F1 of texts with m and n tokens and a longest common subsequence of L tokens is
2L / (m + n). Self-Instruct (arXiv:2212.10560, section 2.2) and Alpaca measure novelty with
it, through the `rouge_score` package; `f_measure` and the "published" settings repeat that
package exactly, the default settings mend two things in it:

* its tokenizer keeps only a-z and 0-9, so that a Chinese text has no tokens and is never a
  duplicate, not even of itself (`tokens`);
* the paper keeps an instruction below 0.7, the code up to and including 0.7, and on exactly
  0.7 the rounding of its float formula decides (`is_duplicate`).
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, get_args

Tokens = Literal["unicode", "published"]
Rule = Literal["strict", "published"]

ASCII_WORD = re.compile("[a-z0-9]+")
ASCII_WORD_OR_OTHER_WORD = re.compile("[a-z0-9]+|[^a-z0-9 ]+")

# First and last code points. Scripts whose characters are tokens one by one: they write no spaces
# between words, and a character carries about as much as a short word.
ONE_BY_ONE = (
    (0x1100, 0x11FF),  # hangul jamo
    (0x3005, 0x3007),  # Han iteration mark and zero
    (0x3021, 0x3029),  # Han numerals
    (0x3041, 0x318F),  # hiragana, katakana, bopomofo, hangul compatibility jamo
    (0x31A0, 0x31BF),  # bopomofo extended
    (0x31F0, 0x31FF),  # katakana phonetic extensions
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),  # Han
    (0xA960, 0xA97F),  # hangul jamo
    (0xAC00, 0xD7FF),  # hangul syllables and jamo
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFFDC),  # halfwidth katakana and hangul
    (0x1AFF0, 0x1B16F),  # kana
    (0x20000, 0x3FFFF),  # Han
)
# Latin beyond ASCII, and the marks and signs that occur inside Latin text. rouge_score takes all
# of them for separators, and so do we: a text in Latin script keeps its published score.
SEPARATORS = (
    (0x0080, 0x036F),  # Latin-1 to IPA, modifier letters, combining diacritics
    (0x1AB0, 0x1AFF),  # combining diacritics
    (0x1D00, 0x1EFF),  # phonetic extensions, combining diacritics, Latin additional
    (0x2000, 0x2BFF),  # punctuation and symbols
    (0x2C60, 0x2C7F),  # Latin
    (0xA700, 0xA7FF),  # tone letters, Latin
    (0xAB30, 0xAB6F),  # Latin
    (0xFB00, 0xFB06),  # Latin ligatures
    (0xFE00, 0xFE2F),  # variation selectors (they follow emoji), combining half marks
    (0x10780, 0x107BF),  # Latin
    (0x1D400, 0x1D7FF),  # mathematical letters
    (0x1DF00, 0x1DFFF),  # Latin
    (0xE0000, 0xE01EF),  # tags and variation selectors
)


def tokens(text: str, *, kind: Tokens = "unicode") -> list[str]:
    """Split a text into the tokens that ROUGE-L compares.

    "published": what `rouge_score` does without a stemmer, the runs of [a-z0-9] in the
    lower-cased text.
    "unicode": the same tokens and, between them, one for every Han, kana, bopomofo or hangul
    character and one for every run of letters, marks and digits of another script (Cyrillic,
    Arabic, Devanagari, ...). A text in Latin script therefore has the same tokens under both;
    that includes accented letters, which separate words in both ("café" gives "caf"), but not the
    full-width ones of East Asian text, which are words here ("ＡＢＣ" gives "ａｂｃ").
    Symbols and emoji are no tokens.

    >>> tokens("Translate 你好 into Русский, C++!")
    ['translate', '你', '好', 'into', 'русский', 'c']
    >>> tokens("Translate 你好 into Русский, C++!", kind="published")
    ['translate', 'into', 'c']
    """
    text = text.lower()
    if kind == "published" or text.isascii():
        return ASCII_WORD.findall(text)
    return ASCII_WORD_OR_OTHER_WORD.findall(text.translate(_spaced))


class _Spaced(dict[int, str]):
    """Lower-case code point -> itself inside a word, spaced where it stands alone, or a space.

    Filled as characters are met: a table of all code points would cost every start 0.2 s.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if code < 0x80:
            seen = char if ASCII_WORD.match(char) else " "
        elif _is_in(ONE_BY_ONE, code) and (category[0] in "LM" or category == "Nl"):
            seen = f" {char} "
        elif _is_in(SEPARATORS, code) or not (category[0] in "LM" or category == "Nd"):
            seen = " "
        else:
            seen = char
        self[code] = seen
        return seen


def _is_in(ranges: tuple[tuple[int, int], ...], code: int) -> bool:
    at = bisect_right(ranges, (code, 0x110000)) - 1
    return at >= 0 and code <= ranges[at][1]


_spaced = _Spaced()


def common_tokens(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence of two lists of tokens.

    >>> common_tokens("a b c d".split(), "b x d a".split())
    2
    """
    places: dict[str, int] = {}
    for at, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << at
    all_ones = free = (1 << len(first)) - 1  # Hyyrö 2004: a bit is cleared where the LCS grows
    for token in second:
        met = free & places.get(token, 0)
        free = (free + met | free - met) & all_ones
    return len(first) - free.bit_count()


def f_measure(lcs: int, m: int, n: int) -> float:
    """The F1 score of ROUGE-L, bit for bit as `rouge_score` computes it.

    0.0 where a text has no tokens. The formula is symmetric in `m` and `n`, also in its last bit.
    """
    if not lcs:
        return 0.0
    precision, recall = lcs / n, lcs / m
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class Limit:
    """A threshold and a rule, ready to compare with: texts at or above it are duplicates.

    `numerator` / `denominator` is the threshold as it is written in decimals; 0.7 is 7/10,
    not the binary fraction just below it.
    """

    threshold: float
    rule: Rule
    numerator: int
    denominator: int

    def is_reached(self, lcs: int, m: int, n: int) -> bool:
        """Whether texts of `m` and `n` tokens that share `lcs` in order are duplicates."""
        if 2 * lcs * self.denominator < self.numerator * (m + n):
            return False
        # Here the true F is at least the threshold. Where it is above, so is the float: a
        # threshold has six decimals at most, so the gap is far wider than the rounding.
        return self.rule == "strict" or f_measure(lcs, m, n) > self.threshold


@lru_cache(maxsize=64)
def limit(threshold: float, rule: Rule) -> Limit:
    """Check a threshold and a rule, and make them comparable.

    Raises ValueError for a threshold outside (0, 1] or of more than six decimals, and for
    an unknown rule.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule {rule!r} is unknown: use 'strict' or 'published'.")
    # repr() is the shortest decimal that gives this float: what was written in the recipe
    exact = Fraction(repr(float(threshold))) if 0 < threshold <= 1 else Fraction(0)
    if not exact or 10**6 % exact.denominator:
        raise ValueError(
            f"threshold {threshold!r} is not usable: "
            "give a number above 0 and up to 1 with at most six decimals."
        )
    return Limit(float(threshold), rule, exact.numerator, exact.denominator)


def is_duplicate(
    lcs: int, m: int, n: int, *, threshold: float = 0.7, rule: Rule = "strict"
) -> bool:
    """Whether texts of `m` and `n` tokens with `lcs` tokens in common, in order, are too alike.

    "strict", the paper's rule: kept only below the threshold, compared as integers (for 0.7:
    a duplicate where 20 * lcs >= 7 * (m + n)). "published", the rule of both reference
    programs: rejected only above it, computed in binary64. The two differ only where the true
    value is exactly the threshold: strict rejects all of those, published about half, as the
    rounding falls.

    >>> is_duplicate(7, 10, 10), is_duplicate(7, 10, 10, rule="published")
    (True, False)
    """
    return bool(lcs) and limit(threshold, rule).is_reached(lcs, m, n)
