"""Time and memory of the novelty filter, beside what else computes ROUGE-L, on the same rows.

    python scripts/bench_novelty.py --data data/instructions_real.parquet [--large]

Streams, all of distinct instructions:

* "52k": the English instructions of the file in file order, which are those with more ASCII
  letters than Han, kana and hangul characters, up to 52,000; edited copies fill up what is missing.
* "1M" (with --large): all English instructions and edited copies of them, shuffled. A copy has a
  share of its words (0 to 0.7, uniform) replaced, removed or doubled, or is half of one row and
  half of another.

Every line is a process of its own: CPU seconds are user and system time of all its threads,
memory is its peak and includes the texts, numba and Python (about 0.25 GB). "start" is the import
and one tiny call with compiled code on disk; the stream's figure does not contain it. What takes
too long to run is measured on a prefix and extrapolated by the number of pairs.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from math import log
from pathlib import Path
from typing import Any, Literal

import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))

Case = dict[str, Any]  # a line of the table: seconds, and whatever else is known

SMALL, LARGE = 52_000, 1_000_000
CHECKPOINTS = (50_000, 125_000, 250_000, 500_000, LARGE)
PREFIX = 8_000  # rows of the 52k stream that rapidfuzz is timed on
ITEMS = 1_000  # that the loop of small calls is timed on
ROUGE_POOL = 500  # entries that rouge_score is timed on, for 4 rows


def english(data: Path) -> list[str]:
    """Distinct English instructions in file order."""
    rows = pl.read_parquet(data, columns=["instruction"])["instruction"].drop_nulls()
    rows = rows.unique(maintain_order=True)
    by_character = rows.str.count_matches(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
    return rows.filter(rows.str.count_matches("[A-Za-z]") > by_character).to_list()


def edited_copies(rows: list[str], seed: int) -> Iterator[str]:
    """Endless edited copies of rows drawn at random."""
    rng = random.Random(seed)
    vocabulary = [word for row in rows[:2000] for word in row.split()]
    while True:
        words = rng.choice(rows).split()
        if rng.random() < 0.3:
            other = rng.choice(rows).split()
            yield " ".join(words[: len(words) // 2 + 1] + other[len(other) // 2 :])
            continue
        share = rng.uniform(0, 0.7)
        edited = []
        for word in words:
            if rng.random() >= share:
                edited.append(word)
            elif (edit := rng.random()) < 0.6:
                edited.append(rng.choice(vocabulary))
            elif edit < 0.8:
                edited += [word, word]
        yield " ".join(edited)


def small_stream(data: Path) -> list[str]:
    """The stream "52k"."""
    rows = english(data)
    return distinct(rows, SMALL, seed=0)


def large_stream(data: Path) -> list[str]:
    """The stream "1M"."""
    texts = distinct(english(data), LARGE, seed=1)
    random.Random(2).shuffle(texts)
    return texts


def distinct(rows: list[str], count: int, seed: int) -> list[str]:
    """The first `count` rows, filled up with edited copies that differ from all before."""
    texts = dict.fromkeys(rows[:count])
    for text in edited_copies(rows, seed):
        if len(texts) >= count:
            break
        texts.setdefault(text)
    return list(texts)


def ours(data: Path, *, nearest: bool, engine: Literal["numpy", "numba"]) -> Case:
    """One pass of the 52k stream through the index."""
    texts = small_stream(data)
    start = time.process_time()
    from filters.novelty import NoveltyIndex

    NoveltyIndex(engine=engine).filter(["a b c", "a b c d"])
    ready = time.process_time()
    index = NoveltyIndex(engine=engine)
    empty_mb = rss_mb()
    accepted = index.filter(texts, nearest=nearest).accepted
    done = time.process_time()
    pairs = int((accepted.cumsum() - accepted).sum())
    grown_mb = rss_mb() - empty_mb
    return {
        "start": ready - start,
        "seconds": done - ready,
        "accepted": int(accepted.sum()),
        "pairs": pairs,
        "note": f"{grown_mb * 1024 / accepted.sum():.2f} KiB an accepted row",
    }


def ours_large(data: Path, *, nearest: bool) -> Case:
    """One pass of the 1M stream, with the time at each checkpoint."""
    from filters.novelty import NoveltyIndex

    texts = large_stream(data)
    NoveltyIndex(engine="numba").filter(["a b c", "a b c d"])
    index = NoveltyIndex()
    start = time.process_time()
    seconds, done = [], 0
    for checkpoint in CHECKPOINTS:
        index.filter(texts[done:checkpoint], nearest=nearest)
        done = checkpoint
        seconds.append(time.process_time() - start)
    exponent = log(seconds[-1] / seconds[0]) / log(CHECKPOINTS[-1] / CHECKPOINTS[0])
    steps = ", ".join(f"{n // 1000}k {s:.1f}" for n, s in zip(CHECKPOINTS, seconds, strict=True))
    return {
        "seconds": seconds[-1],
        "accepted": len(index),
        "note": f"{steps}; exponent {exponent:.2f}",
    }


def replies(data: Path, *, pool: int) -> Case:
    """A bootstrap loop: calls with 4 texts each against a pool that exists, nearest for each."""
    texts = small_stream(data)
    from filters.novelty import NoveltyIndex

    index = NoveltyIndex()
    index.add(texts[:pool])
    index.filter(texts[:1])
    start = time.process_time()
    for at in range(pool, pool + ITEMS, 4):
        index.filter(texts[at : at + 4])
    seconds = time.process_time() - start
    engine = "numba" if "numba" in sys.modules else "numpy"
    return {"seconds": seconds, "note": f"{seconds / ITEMS * 1e6:.0f} us an item, {engine} at last"}


def small_run(data: Path) -> Case:
    """A whole run of 2,000 rows in calls of 4, with the import and whatever is compiled."""
    texts = small_stream(data)[:2000]
    start = time.process_time()
    from filters.novelty import NoveltyIndex

    index = NoveltyIndex()
    for at in range(0, len(texts), 4):
        index.filter(texts[at : at + 4])
    return {"seconds": time.process_time() - start, "accepted": len(index)}


def extract_one(data: Path) -> Case:
    """rapidfuzz: one code point a token, `extractOne` with a cutoff against the growing pool."""
    from rapidfuzz import process
    from rapidfuzz.distance import Indel, LCSseq

    from filters.rouge import is_duplicate, tokens

    texts = small_stream(data)[:PREFIX]
    start = time.process_time()
    numbers: dict[str, int] = {}
    pool: list[str] = []
    pairs = 0
    for text in texts:
        row = "".join(chr(numbers.setdefault(word, len(numbers) + 1)) for word in tokens(text))
        pairs += len(pool)
        met = row and process.extractOne(
            row, pool, scorer=Indel.normalized_similarity, processor=None, score_cutoff=0.7 - 1e-9
        )
        if not (met and is_duplicate(LCSseq.similarity(row, met[0]), len(row), len(met[0]))):
            pool.append(row)
    seconds = time.process_time() - start
    return {"seconds": seconds, "pairs": pairs, "accepted": len(pool), "note": f"first {PREFIX:,}"}


def rouge_score(data: Path) -> Case:
    """rouge_score: one call of the scorer a pair, as published."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    texts = small_stream(data)[: ROUGE_POOL + 4]
    start = time.process_time()
    for text in texts[ROUGE_POOL:]:
        for entry in texts[:ROUGE_POOL]:
            scorer.score(entry, text)
    seconds = time.process_time() - start
    return {"seconds": seconds, "pairs": 4 * ROUGE_POOL, "note": f"{4 * ROUGE_POOL:,} pairs"}


def rss_mb() -> float:
    """Memory in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(case: Callable[..., Case], data: Path, **settings: str | bool | int) -> Case:
    """Run a case in a process of its own, and add its peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_peak, (case, data, settings))


def _with_peak(case: Callable[..., Case], data: Path, settings: Case) -> Case:
    result = case(data, **settings)
    result["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    reference = Path(os.environ.get("SYNTH_REFERENCE_DIR", "."))
    default = reference / "data" / "instructions_real.parquet"
    parser.add_argument("--data", type=Path, default=default, help="Parquet with `instruction`")
    parser.add_argument("--large", action="store_true", help="also the stream of 1,000,000")
    args = parser.parse_args()

    count = len(list(islice(english(args.data), SMALL)))
    print(f"{count:,} English instructions in the file; the rest of 52,000 are edited copies\n")
    print("| rows | what | CPU s | start | accepted | peak GB | times ours | |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    measured(ours, args.data, nearest=False, engine="numba")  # compiled code reaches the disk
    decide = measured(ours, args.data, nearest=False, engine="numba")

    def line(rows: str, what: str, case: Case, seconds: float | None = None) -> None:
        shown = case["seconds"] if seconds is None else seconds
        ratio = f"{shown / decide['seconds']:,.0f}" if rows == "52k" else ""
        start = f"{case['start']:.2f}" if "start" in case else ""
        note = case.get("note", "")
        if seconds is not None:
            note = f"extrapolated from {note}: {case['seconds']:.1f} s"
        accepted = f"{case['accepted']:,}" if "accepted" in case and seconds is None else ""
        peak = f"{case['peak_gb']:.2f}"
        print(
            f"| {rows} | {what} | {shown:,.2f} | {start} | {accepted} | {peak} | {ratio} | {note} |"
        )

    line("52k", "decisions only", decide)
    line("52k", "nearest of every row", measured(ours, args.data, nearest=True, engine="numba"))
    line("52k", "decisions, numpy", measured(ours, args.data, nearest=False, engine="numpy"))
    for what, case in (("rapidfuzz extractOne", extract_one), ("rouge_score", rouge_score)):
        other = measured(case, args.data)
        line("52k", what, other, other["seconds"] * decide["pairs"] / other["pairs"])
    line("2k", "500 calls of 4, import included", measured(small_run, args.data))
    for pool in (1_000, 10_000, 50_000):
        line("1k", f"250 calls of 4, pool {pool:,}", measured(replies, args.data, pool=pool))
    if args.large:
        line("1M", "decisions only", measured(ours_large, args.data, nearest=False))


if __name__ == "__main__":
    main()
