"""Contamination: rows that carry the prompts of a benchmark that a model is to be measured on.

Source: Brown et al. 2020, "Language Models are Few-Shot Learners" (arXiv:2005.14165), appendix C:
overlap of 13 words, whatever their case and punctuation. Prompts of fewer words are looked for by
8 words, those of 4 to 7 whole, and shorter ones only as a whole instruction. Words are the tokens
of `filters.shingles`, so in Han, kana and hangul every sign counts.
"""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import string
import unicodedata
import zlib
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters import shingles
from filters.shingles import Hashes, Runs, tokens
from filters.verdict import verdict

SHORTEST_RUN = 4  # words of the shortest prompt that is looked for inside a text
SHARING = 60  # places in prompts that are compared where more have the same run
SHOWN = 300  # characters of a span in `detail`
TABLE_BITS = 22
ASCII_WORD = re.compile("[A-Za-z0-9]+")
READINGS = 3  # of each prompt
TABLE_SHIFT = np.uint64(64 - TABLE_BITS)

Rows = NDArray[np.int64]
Hit = list[int]  # reading, word of the prompt, word of the text


def decontaminate(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    benchmarks: pl.DataFrame,
    ngram: int = 13,
    short_ngram: int = 8,
) -> pl.DataFrame:
    """Drop rows in which words of a benchmark's prompt stand in the same order, without a gap.

    A prompt of `ngram` words or more is found by any `ngram` of them in a row, one of
    `short_ngram` or more by that many, one of 4 words or more by all of them, wherever they stand
    in instruction, input and output (read one after the other); a shorter one only as the whole
    instruction, and one without words never. Case, punctuation and the Unicode form do not
    matter; punctuation inside a prompt's words may also be missing ("dont", "1000" for "1,000").

    `benchmarks` has columns `benchmark` and `text`, a row a prompt, and may have `item`; without
    it the prompts of each benchmark are numbered from 0. Returns one row an entry, in order:
    `reason` (String, "contaminated", or null where the row is kept), `detail` (String: benchmark,
    item, and the longest span of the row that is the prompt's, its end left out beyond 300
    characters) and `ref` (String, "benchmark:item"). Of spans with as many words the first
    prompt's counts; of many prompts that share a run of words, only some are looked at.

    Raises ValueError for other columns and for lengths that cannot be.
    """
    return Benchmarks(benchmarks, ngram=ngram, short_ngram=short_ngram).find(
        instruction, input, output
    )


def read_benchmarks(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read prompts from Parquet or JSON Lines (.jsonl, .ndjson, also as .gz), for `decontaminate`.

    Where some prompts of JSON Lines have an `item`, another is called by its line. Raises
    ValueError where the file is of another kind or has other columns, and where a line is no
    prompt, by its number.
    """
    name = Path(path).name.lower()
    try:
        if name.endswith(".parquet"):
            return _prompts(pl.read_parquet(Path(path)))
        if name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
            return _prompts(_json_lines(Path(path)))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    raise ValueError(f"{os.fspath(path)} is neither .parquet nor .jsonl")


def _json_lines(path: Path) -> pl.DataFrame:
    """The prompts of all lines, those that are blank left out."""
    rows: list[tuple[str, str | None, str | None]] = []
    lines: list[str] = []
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        try:
            for number, line in enumerate(file, start=1):
                if said := line.removeprefix(codecs.BOM_UTF8).strip():
                    rows.append(_prompt_of(said, number))
                    lines.append(f"line {number}")
        except (EOFError, zlib.error) as error:
            raise ValueError(f"cannot be unpacked: {error}") from error
    frame = pl.DataFrame(
        rows, dict.fromkeys(("benchmark", "item", "text"), pl.String), orient="row"
    )
    if frame["item"].null_count() == frame.height:
        return frame.drop("item")
    return frame.with_columns(pl.col("item").fill_null(pl.Series(lines, dtype=pl.String)))


def _prompt_of(line: bytes, number: int) -> tuple[str, str | None, str | None]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"line {number}: a {type(found).__name__}, not an object")
    if missing := {"benchmark", "text"} - found.keys():
        raise ValueError(
            f"line {number}: benchmark prompts have no column "
            f"{' and no column '.join(sorted(missing))}; there are {', '.join(found) or 'none'}"
        )
    benchmark, text, item = found["benchmark"], found["text"], found.get("item")
    for name, value, kinds in (
        ("benchmark", benchmark, str),
        ("text", text, str | None),
        ("item", item, str | int | float | None),
    ):
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"line {number}: {name} is a {type(value).__name__}")
    return benchmark, None if item is None else str(item), text


def _prompts(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns `benchmark`, `item` and `text`, all String."""
    missing = {"benchmark", "text"} - set(frame.columns)
    if missing:
        raise ValueError(
            f"benchmark prompts have no column {' and no column '.join(sorted(missing))}; "
            f"there are {', '.join(frame.columns) or 'none'}"
        )
    if "item" not in frame.columns:
        frame = frame.with_columns(item=pl.int_range(pl.len()).over("benchmark"))
    texts = frame.select(pl.col("benchmark", "item", "text").cast(pl.String))
    place = pl.format("row {}", pl.int_range(1, pl.len() + 1))
    return texts.with_columns(pl.col("item").fill_null(place))


@dataclass(frozen=True)
class _Sought:
    """The runs of one length that are looked for, sorted by hash."""

    length: int
    hashes: Hashes
    readings: Rows
    positions: Rows
    table: NDArray[np.bool_]  # whether any hash begins with these bits

    @classmethod
    def of(cls, length: int, runs: Runs, readings: Rows) -> _Sought:
        """Index the runs of some readings."""
        order = np.argsort(runs.hashes, kind="stable")
        counts = np.diff(runs.offsets)
        positions = np.arange(len(order)) - np.repeat(runs.offsets[:-1], counts)
        hashes = runs.hashes[order]
        table = np.zeros(1 << TABLE_BITS, np.bool_)
        table[hashes >> TABLE_SHIFT] = True
        return cls(length, hashes, np.repeat(readings, counts)[order], positions[order], table)

    def among(self, runs: Hashes) -> tuple[Rows, Rows, Rows]:
        """Which of `runs` stand in which readings, and from which word on."""
        likely = np.flatnonzero(self.table[runs >> TABLE_SHIFT])
        first = np.searchsorted(self.hashes, runs[likely], "left")
        counts = np.searchsorted(self.hashes, runs[likely], "right") - first
        counts = np.minimum(counts, SHARING)
        entry = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return np.repeat(likely, counts), self.readings[entry], self.positions[entry]


@dataclass(frozen=True)
class _Match:
    """Words `start` to `end` of a text are those of a prompt."""

    reading: int
    start: int
    end: int

    @property
    def rank(self) -> tuple[int, int, int]:
        """Lowest for the match to report."""
        return self.start - self.end, self.reading, self.start


class Benchmarks:
    """Prompts that texts are searched for. Build it once where there are many shards."""

    def __init__(self, prompts: pl.DataFrame, *, ngram: int = 13, short_ngram: int = 8) -> None:
        """Index prompts; `decontaminate` says what they and the settings are."""
        if not SHORTEST_RUN <= short_ngram <= ngram:
            raise ValueError(
                f"ngram {ngram} and short_ngram {short_ngram} are not usable: "
                f"{SHORTEST_RUN} <= short_ngram <= ngram"
            )
        frame = _prompts(prompts)
        self._names = frame.select("benchmark", "item").rows()
        texts = frame["text"].fill_null("").to_list()
        self._readings = [reading for text in texts for reading in _readings(text)]
        self._tokens = dict[int, list[str]]()
        self._ngram, self._short_ngram = ngram, short_ngram
        small = shingles.is_small(self._readings)
        self._runs = self._index(shingles.token_hashes(self._readings, small=small), small=small)

    def find(
        self,
        instruction: pl.Series,
        input: pl.Series,
        output: pl.Series,
        *,
        small: bool | None = None,
    ) -> pl.DataFrame:
        """Judge rows, as `decontaminate` says.

        `small` says whether the rows that it is called for are few in all, and loading the compiled
        engine would cost more than it saves; null is that these are all.
        """
        columns = pl.DataFrame({"instruction": instruction, "input": input, "output": output})
        small = shingles.is_small(columns) if small is None else small
        reason: list[str | None] = [None] * columns.height
        detail, ref = reason.copy(), reason.copy()
        start = 0
        for texts in shingles.row_texts(columns):
            hits = self._hits(texts, small=small)
            for row in sorted(hits):
                text, whole = texts[row], instruction[start + row]
                match = self._longest(tokens(text), tokens(str(whole or "")), hits[row])
                if match is None:
                    continue
                benchmark, item = self._names[match.reading // READINGS]
                found = span(text, match.start, match.end)
                shown = found if len(found) <= SHOWN else found[: SHOWN - 1] + "…"
                reason[start + row] = "contaminated"
                detail[start + row] = (
                    f'{benchmark} item {item}, {match.end - match.start} words: "{shown}"'
                )
                ref[start + row] = f"{benchmark}:{item}"
            start += len(texts)
        return verdict(reason, detail, ref)

    def _hits(self, texts: list[str], *, small: bool) -> dict[int, list[Hit]]:
        """Runs that have the hash of one that is looked for, by text."""
        hits = defaultdict(list)
        words = shingles.token_hashes(texts, small=small)
        for sought in self._runs:
            runs = shingles.run_hashes(words, sought.length, whole=False, small=small)
            at, readings, positions = sought.among(runs.hashes)
            rows = np.searchsorted(runs.offsets, at, "right") - 1
            found = [rows, readings, positions, at - runs.offsets[rows]]
            if sought.length < SHORTEST_RUN:  # a whole instruction is what the text begins with
                found = [column[at == runs.offsets[rows]] for column in found]
            for row, *hit in zip(*(column.tolist() for column in found), strict=True):
                hits[row].append(hit)
        return hits

    def _longest(self, text: list[str], instruction: list[str], hits: list[Hit]) -> _Match | None:
        """The match to report; None where hashes deceived, or a short prompt is not all there."""
        matches = []
        ends = dict[tuple[int, int], int]()  # of the last match of a reading at a distance
        for reading, position, word in hits:
            if word < ends.get((reading, word - position), 0):
                continue  # inside that match
            prompt = self._prompt(reading)
            start, end = _extended(text, word, prompt, position)
            ends[reading, word - position] = end
            is_alone = len(prompt) < SHORTEST_RUN
            if end - start >= self._sought(len(prompt)) and (not is_alone or instruction == prompt):
                matches.append(_Match(reading, start, end))
        return min(matches, key=lambda match: match.rank, default=None)

    def _prompt(self, reading: int) -> list[str]:
        if reading not in self._tokens:
            self._tokens[reading] = tokens(self._readings[reading])
        return self._tokens[reading]

    def _sought(self, n_words: int) -> int:
        """How many words of a prompt are looked for."""
        enough = [length for length in (self._ngram, self._short_ngram) if length <= n_words]
        return enough[0] if enough else n_words

    def _index(self, words: Runs, *, small: bool) -> list[_Sought]:
        n_words = np.diff(words.offsets)
        # most prompts say the same in all readings; the first of equal ones is looked for
        said = [words.hashes[a:b].tobytes() for a, b in pairwise(words.offsets)]
        is_new = [says not in said[i - i % READINGS : i] for i, says in enumerate(said)]
        lengths = np.array([self._sought(n) for n in n_words.tolist()], np.int64)
        found = []
        for length in np.unique(lengths[lengths > 0]).tolist():
            readings = np.flatnonzero(np.array(is_new) & (lengths == length))
            part = shingles.chosen(words, readings)
            runs = shingles.run_hashes(part, length, whole=False, small=small)
            found.append(_Sought.of(length, runs, readings))
        return found


def _extended(text: list[str], word: int, prompt: list[str], position: int) -> tuple[int, int]:
    """The words of a text around `word` that stand in the prompt around `position` too."""
    start = end = word
    ahead = position - word
    while start > 0 and start + ahead > 0 and text[start - 1] == prompt[start + ahead - 1]:
        start -= 1
    while end < len(text) and end + ahead < len(prompt) and text[end] == prompt[end + ahead]:
        end += 1
    return start, end


def span(text: str, start: int, end: int) -> str:
    """The part of a text that its tokens `start` to `end` are, from the first to the last sign.

    A sign that is several tokens, as ¼ is, is shown whole.

    >>> span("Well: “Don't panic!”, he said.", 1, 4)
    "Don't panic"
    """
    if text.isascii():
        places = [word.span() for word in ASCII_WORD.finditer(text)]
        return text[places[start][0] : places[end - 1][1]]
    words = tokens(text)
    upto, after = words[:end], words[start:]
    # Normalising moves signs, so places are searched for: the shortest head of the text with the
    # first words, and the shortest tail with the last.
    last = bisect_left(range(len(text)), x=True, key=lambda i: tokens(text[:i])[:end] == upto)
    tail = bisect_left(
        range(len(text)),
        x=True,
        key=lambda n: tokens(text[len(text) - n :])[-len(after) :] == after,
    )
    return text[len(text) - tail : last]


class _Unpunctuated(dict[int, str]):
    """Code point -> itself, or nothing for punctuation and the ASCII symbols used as such."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        is_left_out = char in string.punctuation or unicodedata.category(char)[0] == "P"
        seen = self[code] = "" if is_left_out else char
        return seen


_without_ascii = dict.fromkeys(map(ord, string.punctuation), "")
_without_any = _Unpunctuated()


def _readings(text: str) -> tuple[str, str, str]:
    """A prompt with punctuation between its words, without that of ASCII, and without any."""
    return text, text.translate(_without_ascii), text.translate(_without_any)
