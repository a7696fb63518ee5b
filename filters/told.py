"""Values that one text tells, found in other texts, written as there or grouped otherwise.

Words before a number say that it is a phone, `password:` that what follows is one; where the value
stands alone, nothing does. What was told once is found there too: numbers however their digits are
grouped, anything else as it is, none of it within a longer word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

import polars as pl

from filters.spans import folded

NUMBERS = ("phone", "iban", "card", "national_id")
"""Kinds whose values are the same however they are grouped."""
MOST = 100_000
"""So many values are held, those that were told first."""
WORD = re.compile("[A-Za-z0-9]+")
BETWEEN = r"[ .\-()/\u00a0（）]{1,3}"
GAP = re.compile(BETWEEN)
TWO_DIGITS = f"[0-9](?:{BETWEEN})?[0-9]"
LETTERS = re.compile("[A-Z]*")
KEY_LINE = re.compile(r"[A-Za-z0-9+/]{40,}")
BEGIN = 10
"""So many characters of a value say which texts are searched for it."""
LEAST_NUMBER = 9
LEAST_SECRET = 12
SMALL = 20
COUNTS = "0123456789012345 9876543210987654"
RUN = 6
LONGEST = 48

Found = tuple[int, int, str]
"""Where a value begins and ends, and its kind."""


class Told:
    """Values by kind. `any_text` takes every value in, else only those that `is_telling` allows."""

    def __init__(self, *, any_text: bool = False, most: int = MOST) -> None:
        """Nothing is told yet; no more than `most` values will be."""
        self._any = any_text
        self._most = most
        self.pieces: dict[str, str] = {}
        self.is_full = False
        self._numbers: dict[str, str] = {}
        self._letters: set[str] = set()  # that numbers begin with
        self._words: dict[str, list[tuple[int, str, str]]] = {}
        self._begin: dict[str, None] = {}
        self._begin_numbers: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether there is any value."""
        return bool(self.pieces)

    def add(self, kind: str, piece: str) -> None:
        """Take a value in; one that was told before keeps its kind."""
        if piece in self.pieces or not (self._any or is_telling(kind, piece)):
            return
        if len(self.pieces) >= self._most:
            self.is_full = True
            return
        self.pieces[piece] = kind
        if kind in NUMBERS:
            for key in _keys(kind, piece, any_text=self._any):
                self._numbers.setdefault(key, kind)
                self._begin_numbers[key[:BEGIN].lower()] = None
                letters = LETTERS.match(key)
                ends = range(1, letters.end() + 1) if letters else ()
                self._letters.update(key[:end] for end in ends)
        for part in _parts(kind, piece):
            self._add_words(kind, part)

    def _add_words(self, kind: str, piece: str) -> None:
        plain = folded(piece)
        first = WORD.search(plain)
        if first is None:
            return
        second = WORD.search(plain, first.end())
        head = plain[first.start() : (second or first).end()].lower()
        if (first.start(), plain, kind) not in self._words.setdefault(head, []):
            self._words[head].append((first.start(), plain, kind))
            self._begin[plain[first.start() : first.start() + BEGIN].lower()] = None

    def may_hold(self, texts: pl.Series) -> pl.Series:
        """Which texts of a column may hold a value; null holds none."""
        nothing = pl.repeat(value=False, n=len(texts), dtype=pl.Boolean, eager=True)
        if not self.pieces or not len(texts):
            return nothing
        wide = texts.str.contains("[０-９Ａ-Ｚａ-ｚ＠]").fill_null(value=False).arg_true()
        if len(wide):
            texts = texts.clone().scatter(wide, [folded(text) for text in texts.gather(wide)])
        low, hits = texts.str.to_lowercase(), nothing
        if self._begin:
            values = pl.Series(list(self._begin), dtype=pl.String).implode()
            hits = hits | low.str.contains_any(values)
        if self._numbers:
            has_digits = low.str.contains(TWO_DIGITS).fill_null(value=False).arg_true()
            squeezed = low.gather(has_digits).str.replace_all(BETWEEN, "")
            values = pl.Series(list(self._begin_numbers), dtype=pl.String).implode()
            met = has_digits.filter(squeezed.str.contains_any(values))
            hits = hits | nothing.clone().scatter(met, values=True)
        return hits.fill_null(value=False)

    def find(self, text: str) -> list[Found]:
        """Where values stand in a text, as they overlap or not."""
        if not self.pieces:
            return []
        text = folded(text)
        words = [(met.start(), met.end()) for met in WORD.finditer(text)]
        return [*self._numbers_in(text, words), *self._words_in(text, words)]

    def _words_in(self, text: str, words: list[tuple[int, int]]) -> Iterator[Found]:
        low = text.lower()
        if len(low) != len(text):  # some capitals are one letter, and two small ones
            low = "".join(sign.lower() if sign.isascii() else sign for sign in text)
        for at, (start, end) in enumerate(words):
            ends = (end, words[at + 1][1]) if at + 1 < len(words) else (end,)
            for till in ends:
                for offset, piece, kind in self._words.get(low[start:till], ()):
                    first = start - offset
                    last = first + len(piece)
                    if first < 0 or not _is_apart(text, first, last):
                        continue
                    said = text[first:last]
                    if said == piece or (kind == "email" and said.lower() == piece.lower()):
                        yield first, last, kind

    def _numbers_in(self, text: str, words: list[tuple[int, int]]) -> Iterator[Found]:
        for at, (start, end) in enumerate(words) if self._numbers else ():
            if text[start:end].isalpha() and text[start:end].upper() not in self._letters:
                continue
            joined, longest = "", None
            for till in range(at, len(words)):
                begin, end = words[till]
                if till > at and not GAP.fullmatch(text, words[till - 1][1], begin):
                    break
                joined += text[begin:end].upper()
                if len(joined) > LONGEST:
                    break
                if (kind := self._numbers.get(joined)) is not None:
                    longest = (end, kind)
            if longest is not None:
                yield start - (text[:start][-1:] == "+"), *longest


def _is_apart(text: str, first: int, last: int) -> bool:
    """Whether a stretch of a text is no part of a longer word."""
    before, after = text[first - 1 : first], text[last : last + 1]
    return not any(one.isascii() and one.isalnum() for one in (before, after))


def _keys(kind: str, piece: str, *, any_text: bool) -> Iterator[str]:
    """A number as one word, and a phone's as it is called at home and from abroad."""
    key = "".join(WORD.findall(folded(piece))).upper()
    yield key
    if kind == "phone" and folded(piece).startswith("+"):
        phonenumbers = import_module("phonenumbers")
        try:
            code = str(phonenumbers.parse(folded(piece), None).country_code)
        except phonenumbers.NumberParseException:
            return
        local = key.removeprefix(code)
        yield from (one for one in (local, f"0{local}", f"00{key}") if any_text or _is_drawn(one))


def _parts(kind: str, piece: str) -> list[str]:
    """The value, and what of it is as secret alone: each line of a key, a token's signature."""
    if kind == "private_key":
        return KEY_LINE.findall(piece)
    return [piece, piece.rpartition(".")[2]] if kind == "jwt" else [piece]


def is_telling(kind: str, piece: str) -> bool:
    """Whether a value is so much its own that the same one elsewhere is no chance.

    Numbers have at least 9 letters and digits, and are not counted up or down or one digit again
    and again. An address has a part above 20, as versions hardly have. A password or secret has 12
    characters, or 8 in which no four letters or digits stand together.

    >>> is_telling("phone", "+1 415 867 5309"), is_telling("phone", "1234567890")
    (True, False)
    >>> is_telling("secret", "Ubuntu22.04"), is_telling("secret", "aB3xK9qT")
    (False, True)
    """
    if kind in NUMBERS:
        return _is_drawn("".join(WORD.findall(folded(piece))))
    if kind == "ip_address" and ":" not in piece:
        return max(map(int, re.findall("[0-9]+", folded(piece)))) > SMALL
    if kind == "secret" and len(piece) < LEAST_SECRET:
        return re.search("[A-Za-z]{4}|[0-9]{4}", piece) is None
    return True


def _is_drawn(key: str) -> bool:
    runs = (key[at : at + RUN] for at in range(len(key) - RUN + 1))
    is_run = any(run in COUNTS or len(set(run)) == 1 for run in runs)
    return len(key) >= LEAST_NUMBER and not is_run and len(set(key)) > 3
