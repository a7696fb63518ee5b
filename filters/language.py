"""The language of a row: whether it is one that is wanted, and whether the answer keeps to it.

Han, kana and hangul are told by their signs, what is written in letters by `py3langid` (extra
`clean`): of the packages that work without a network it alone needs nothing beside numpy, says how
sure it is, and ships its model under its own licence (BSD). Short texts are in no language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from filters.bounds import Share, Some
from filters.code import is_code, without_fenced
from filters.verdict import verdict
from filters.word_lists import one_of

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LANGUAGES = (
    *("en", "zh", "fr", "de", "es", "it", "pt", "nl", "ru", "uk", "ja", "ko", "ar", "hi", "vi"),
    *("th", "tr", "pl", "sv", "id", "cs", "da", "el", "fa", "fi", "he", "hu", "no", "ro", "bn"),
)
"""What a text is taken for; leaving rare ones out makes the rest of short texts surer."""
HEAD = 240  # characters of a text that are looked at
WANTED = ("en", "zh")
PACKAGE = "py3langid"
SIGN_LANGUAGES = ("zh", "ja", "ko")

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
KANA = re.compile("[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d]")
HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
NOT_WORDS = re.compile(
    r"https?://\S+|www\.\S+|\S+@\S+\.\S+|`[^`\n]*`|<[^<>\n]{1,80}>|\$[^$\n]*\$|&#?\w+;|[\d_/\\=+*|#]+"
)
SIGNED = re.compile(f"{HAN.pattern}|{KANA.pattern}|{HANGUL.pattern}")
QUOTED = re.compile("[“\"'‘「『《(（:：][A-Za-z]{2,}")
LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
ENGLISH = re.compile(r"\b(?:the|and|this|that|with|from|which|have)\b", re.IGNORECASE)
NAME = re.compile(r"\b[^\W\d_a-z][a-zà-öø-ÿ]+\b")
LETTER = re.compile(r"[^\W\d_]")
Told = tuple[str, float]
"""A language (ISO 639-1) and how sure that is, 0 to 1."""
LETTERS: Told = ("", 0.0)  # written in letters, which say no language by themselves


def language(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    wanted: Sequence[str] = WANTED,
    same: bool = True,
    sure: Share = 0.9,
    letters: Some = 20,
) -> pl.DataFrame:
    """Drop rows in a language that is not `wanted`, and answers in another than they were asked in.

    `unwanted_language`: the instruction, or the answer, is in none of them; an answer may be where
    the instruction names a language. `language_mismatch` (unless `same` is false): the answer is in
    another language than the instruction and the input, and the instruction names no language and
    asks for no code. Only what is at least `sure` counts, and only answers of `letters` letters
    beside code, links and numbers (of Han, kana or hangul a third as many), and instructions of
    half as many. A null is empty.
    Returns one row an entry, in order: `reason` (String, null where the row is kept) and `detail`
    (String: the languages, with how sure they are; null where the row is kept).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    texts = zip(instruction.to_list(), input.to_list(), output.to_list(), strict=True)
    for task, given, answer in texts:
        reason, detail = _judge(task or "", given or "", answer or "", wanted, same, sure, letters)
        reasons.append(reason)
        details.append(detail)
    return verdict(reasons, details)


def check_wanted(wanted: Sequence[str]) -> None:
    """Raise `ValueError` where no language is wanted, or one that no text is taken for.

    >>> check_wanted(["en", "zh-CN"])
    Traceback (most recent call last):
    ValueError: no text is told to be in 'zh-CN': the languages are ar, bn, cs, da, de, el, en, \
es, fa, fi, fr, he, hi, hu, id, it, ja, ko, nl, no, pl, pt, ro, ru, sv, th, tr, uk, vi, zh
    """
    if not wanted:
        raise ValueError("no language is wanted, and every row would be dropped: wanted: [en, zh]")
    if unknown := [one for one in wanted if one not in LANGUAGES]:
        named = " or ".join(map(repr, unknown))
        known = ", ".join(sorted(LANGUAGES))
        raise ValueError(f"no text is told to be in {named}: the languages are {known}")


def _judge(
    task: str,
    given: str,
    answer: str,
    wanted: Sequence[str],
    same: bool,
    sure: float,
    letters: int,
) -> tuple[str | None, str | None]:
    asked = told(task, letters // 2)
    if asked is not None and asked[1] >= sure and asked[0] not in wanted:
        if one_of("names_a_language").search(task) or any(
            _is_in(one, task, letters) for one in wanted if (one, asked[0]) != ("zh", "ja")
        ):
            return None, None
        return "unwanted_language", f"the instruction is {_said(asked)}"
    said = told(answer, letters)
    if said is None or said[1] < sure or (asked is not None and said[0] == asked[0]):
        return None, None
    is_unwanted = said[0] not in wanted
    if not is_unwanted and not same:
        return None, None
    if one_of("names_a_language").search(task) or _is_in(said[0], f"{task}\n{given}", letters):
        return None, None
    if is_unwanted:
        plain = told(NAME.sub(" ", answer), letters)  # names are in no language
        is_told = plain is not None and plain[0] == said[0] and plain[1] >= sure
        return ("unwanted_language", f"the answer is {_said(said)}") if is_told else (None, None)
    by_script = asked is not None and said[0] in SIGN_LANGUAGES and asked[0] not in SIGN_LANGUAGES
    if asked is None or (asked[1] < sure and not by_script):
        return None, None
    if said[0] not in SIGN_LANGUAGES and is_or_asks_for_code(task, answer):
        return None, None
    return "language_mismatch", f"the instruction is {_said(asked)}, the answer {_said(said)}"


def is_or_asks_for_code(task: str, answer: str) -> bool:
    """Whether an answer in letters may be in no language, for it is code or a name."""
    return one_of("asks_for_code").search(task) is not None or is_code(without_fenced(answer))


def _said(found: Told) -> str:
    return f"{found[0]} ({found[1]:.2f})"


def _is_in(language: str, text: str, letters: int) -> bool:
    """Whether a part of a text is in that language: a line, a sentence, what is quoted."""
    if language in SIGN_LANGUAGES:
        signs = {"zh": HAN, "ja": KANA, "ko": HANGUL}[language]
        return len(signs.findall(text)) >= 2
    if language == "en" and sum(map(len, SIGNED.findall(text))) >= 2:
        return QUOTED.search(text) is not None or len(LATIN_WORD.findall(text)) >= 5
    parts = re.split(r"[\n:：\"“”「」。.!?！？]+", text)
    return any(found[0] == language for part in parts if (found := told(part, letters // 2)))


def told(text: str, letters: int = 20) -> Told | None:
    """The language of a text, and how sure that is; null where it has too few letters.

    >>> told("长江是中国最长的河流。"), told("42"), told("def f(): return 1")
    (('zh', 1.0), None, None)
    """
    words = words_of(text)
    found = by_signs(words, letters)
    return _classified(words) if found == LETTERS else found


def words_of(text: str) -> str:
    """The beginning of a text without code, links, numbers and markup."""
    return NOT_WORDS.sub(" ", without_fenced(text[: 4 * HEAD]))[:HEAD]


def by_signs(words: str, letters: int) -> Told | None:
    """The language of what is written in Han, kana or hangul; `LETTERS`, or null for too few."""
    if words.isascii():
        return LETTERS if sum(map(len, re.findall("[A-Za-z]+", words))) >= letters else None
    han, kana, hangul = (len(signs.findall(words)) for signs in (HAN, KANA, HANGUL))
    signs = han + kana + hangul
    other = len(LETTER.findall(words)) - signs
    if 3 * signs >= letters and 3 * signs >= other:  # a word stands for two signs or three
        share = 3 * signs / (3 * signs + other)
        return ("ja" if 10 * kana >= signs else "ko" if 2 * hangul >= signs else "zh"), share
    return LETTERS if other >= letters else None


def _classified(words: str) -> Told:
    # of 8,000 real texts with three of these words the model calls none anything else, and it takes
    # twenty times as long to say so
    if words.isascii() and len(ENGLISH.findall(words)) >= 3:
        return "en", 1.0
    found, confidence = _identifier().classify(words)
    return str(found), float(confidence)


@lru_cache
def _identifier() -> LanguageIdentifier:
    """The model, read once; the classes that it may give are those of `LANGUAGES`."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier
