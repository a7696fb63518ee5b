"""Answers that say the same again and again: lines, sentences, runs of words.

Source: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training
Gopher" (arXiv:2112.11446), table A1, whose shares are of web pages of 50 words and more. Answers
are short and come back to what was asked: among 75,180 real ones the paper's shares of runs drop
2,900 that are nearly all in order, sums worked out step by step above all. Runs are therefore
judged by `scale` times those shares. Where we differ besides: answers that are code or verse are
judged by no share; lines and sentences count from `SHORTEST` words on, unless they are items or
rows of a table, and shares of them from `FEWEST` on; sentences are looked at beside lines; and a
sign of Han, kana or hangul is a token of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.bounds import NoneOrMore, Scale, Share
from filters.code import is_code, without_fenced
from filters.sentences import TOKEN
from filters.sentences import sentences as split_sentences
from filters.share import rounded_down
from filters.verdict import verdict
from filters.verse import asks_for_verse

SHORTEST = 3  # words, or signs, of a line or a sentence that counts
FEWEST = 4  # lines or sentences of which there are shares
SLICE = 8_192  # rows whose tokens are in memory at once
TOP = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
FACTOR = np.uint64(0x9E3779B97F4A7C15)
LISTED = re.compile(r"[-*•·|+>#]|\(?(?:\d{1,3}|[a-zA-Z])[.)、）]")  # an item, or a row of a table
TOKENS = re.compile(TOKEN)

Shares = Iterator[tuple[int, int, int]]
"""A row, the characters that are counted of it, and all of its characters."""
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Found = tuple[str | None, str | None]


def repetition(
    instruction: pl.Series,
    output: pl.Series,
    *,
    lines: Share = 0.3,
    line_characters: Share = 0.2,
    sentences: Share = 0.3,
    scale: Scale = 5.0,
    tokens_at_least: NoneOrMore = 100,
) -> pl.DataFrame:
    """Drop answers too much of which was said before in them.

    `repeated_lines`: more than the share `lines` of the lines, or `line_characters` of their
    characters, are equal to an earlier line. `repeated_sentences`: the same of sentences, by
    number. `top_ngram`: the most frequent run of 2, 3 or 4 tokens makes up more of the characters
    than `scale` times what table A1 allows. `repeated_ngrams`: so do the runs of 5 to 10 tokens
    that come more than once, all together. Runs are looked at in answers of `tokens_at_least`
    tokens and more. A null is empty. Returns one row an entry, in order: `reason` (String, null
    where the row is kept) and `detail` (String: the share and the bound; null where the row is
    kept).
    """
    texts = [
        "" if asks_for_verse(task or "") else without_fenced(text or "")
        for task, text in zip(instruction.to_list(), output.to_list(), strict=True)
    ]
    found = [_by_parts(text, lines, line_characters, sentences) for text in texts]
    left = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_row_index("at")
    is_left = pl.Series([reason is None for reason, _ in found], dtype=pl.Boolean)
    for part in left.filter(is_left).iter_slices(SLICE):
        for at, over in _by_ngrams(part, scale, tokens_at_least):
            if not is_code(texts[at]):
                found[at] = over
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def _by_parts(text: str, lines: float, line_characters: float, sentences: float) -> Found:
    """The verdict by whole lines and sentences."""
    parts = split_sentences(text)
    if len(parts) < FEWEST or len(set(parts)) == len(parts):
        return None, None
    for unit, given in (("lines", text.splitlines()), ("sentences", parts)):
        counted = [one for one in map(str.strip, given) if _counts(one)]
        n = len(counted)
        repeated = n - len(set(counted))
        if n < FEWEST or not repeated or is_code(text):
            continue
        share = lines if unit == "lines" else sentences
        if repeated > rounded_down(n, share):
            return f"repeated_{unit}", f"{repeated} of {n} {unit}, more than {share:g}"
        whole = sum(map(len, counted))
        again = whole - sum(map(len, set(counted)))
        if unit == "lines" and again > rounded_down(whole, line_characters):
            return "repeated_lines", f"{again} of {whole} characters, more than {line_characters:g}"
    return None, None


def _counts(part: str) -> bool:
    if LISTED.match(part):
        return False
    words = [token for token in TOKENS.findall(part) if token[0].isalpha()]
    return len(words) >= SHORTEST


def _by_ngrams(part: pl.DataFrame, scale: float, at_least: int) -> Iterator[tuple[int, Found]]:
    """The rows of a slice (`at`, `text`) that are over a bound, each with the first of them."""
    tokens = part.lazy().select(
        "at", token=pl.col("text").str.to_lowercase().str.extract_all(TOKEN)
    )
    long = tokens.filter(pl.col("token").list.len() >= at_least).explode("token").collect()
    if long.is_empty():
        return
    rows = long["at"].to_numpy().astype(np.int64)
    hashes = long["token"].hash().to_numpy()
    ends = np.concatenate(
        ([0], np.cumsum(long["token"].str.len_chars().to_numpy().astype(np.int64)))
    )
    told: set[int] = set()
    for n, published in (TOP | DUPLICATE).items():
        bound = scale * published
        share = _top if n in TOP else _duplicate
        for row, over, whole in share(rows, hashes, ends, n):
            if over > bound * whole and row not in told:
                told.add(row)
                what = "the most frequent run" if n in TOP else "runs that repeat,"
                detail = (
                    f"{over} of {whole} characters in {what} of {n} tokens, more than {bound:g}"
                )
                yield row, ("top_ngram" if n in TOP else "repeated_ngrams", detail)


def _top(rows: Numbers, hashes: Hashes, ends: Numbers, n: int) -> Shares:
    runs = _runs(rows, hashes, ends, n)
    again = runs.filter(pl.col("run").is_duplicated())
    counted = again.group_by("run").agg(pl.col("row", "length").first(), times=pl.len())
    top = counted.filter(pl.col("times") == pl.col("times").max().over("row"))
    most = top.group_by("row").agg(over=(pl.col("times") * pl.col("length")).max())
    yield from _of_all(most, rows, ends)


def _duplicate(rows: Numbers, hashes: Hashes, ends: Numbers, n: int) -> Shares:
    runs = _runs(rows, hashes, ends, n)
    first = runs["first"].filter(runs["run"].is_duplicated()).to_numpy()
    steps = np.zeros(len(rows) + 1, dtype=np.int64)
    steps[first] += 1
    steps[first + n] -= 1
    is_covered = np.cumsum(steps[:-1]) > 0
    lengths = pl.DataFrame({"row": rows[is_covered], "length": np.diff(ends)[is_covered]})
    yield from _of_all(lengths.group_by("row").agg(over=pl.col("length").sum()), rows, ends)


def _of_all(found: pl.DataFrame, rows: Numbers, ends: Numbers) -> Shares:
    lengths = pl.DataFrame({"row": rows, "length": np.diff(ends)})
    whole = lengths.group_by("row").agg(whole=pl.col("length").sum())
    yield from found.join(whole, on="row").select("row", "over", "whole").sort("row").iter_rows()


def _runs(rows: Numbers, hashes: Hashes, ends: Numbers, n: int) -> pl.DataFrame:
    """Each run of `n` tokens of one row: `row`, where it is `first`, its `run` and its `length`.

    `run` is a hash of the tokens and the row, `length` the characters of the tokens.
    """
    count = max(len(rows) - n + 1, 0)
    run = rows[:count].astype(np.uint64)
    for at in range(n):
        run = run * FACTOR + hashes[at : at + count]
        run ^= run >> np.uint64(29)
    first = np.flatnonzero(rows[:count] == rows[n - 1 :][:count])
    return pl.DataFrame(
        {
            "row": rows[first],
            "first": first,
            "run": run[first],
            "length": ends[first + n] - ends[first],
        }
    )
