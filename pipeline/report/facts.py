"""The numbers of a report: what each stage took in and dropped, and how rows are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.inspect import Run
from pipeline.manifest import Half
from pipeline.report import curve, roots
from pipeline.status import StageStatus, asked, stage_statuses

MEASURES = {
    "instruction words": "words of the instruction",
    "output words": "words of the output",
    "rating": "a judge's rating, 0 to 5",
    "perplexity": "perplexity of the output given the instruction",
    "ifd": "IFD: loss of the output given the instruction, over its loss alone",
    "nearest_score": "novelty: ROUGE-L with the most similar row of the pool",
    "quality": "how sure a classifier is that the row is good",
    "round": "depth of evolution: the round that made the row",
}
"""What is drawn of rows, before and after, where they have it."""
WORDS = {"instruction words": "instruction", "output words": "output"}
PARTS = {
    "is_classification": "classification",
    "language": "language",
    "domain": "domain",
    "task_type": "kind of task",
    "data_set": "data set",
    "source": "source",
    "origin": "origin",
    "operation": "operation of evolution",
}
"""Columns of few values whose shares are drawn."""
MOST_VALUES = 12
BINS = 40
TAIL = 0.995
"""Up to this share of the values a distribution is drawn; what is above is in its last bin."""
MOST_LABELS = 15
LONGEST_LABEL = 200
OPENING_WORDS = 3
MOST_OPENINGS = 20


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often values fall between `edges`, of all rows (`before`) and of those kept (`after`).

    The last bin has all that is above it too, where `is_cut`.
    """

    edges: list[float]
    before: list[int]
    after: list[int]
    is_cut: bool
    mean_before: float
    mean_after: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers of one run. `distributions` and `parts` are by measure and by column.

    A part's counts are (value, rows before, rows after), most first. `openings` are the first words
    of kept instructions with how often they occur, `roots` verb, object and rows, `labels` the most
    frequent outputs of classification tasks; `curve` has what a fine-tuning logged, step by step.
    """

    name: str
    recipe: str
    status: str
    asks: str
    started: str
    seconds: float
    synth: str
    kept: int
    stages: list[StageStatus]
    distributions: dict[str, Distribution]
    parts: dict[str, list[tuple[str, int, int]]]
    labels: list[tuple[str, int]]
    label_balance: float | None
    openings: list[tuple[str, int]]
    roots: list[tuple[str, str | None, int]]
    without_root: int
    rows_dropped: int
    curve: list[dict[str, float]]


def halves(run: Run) -> list[tuple[str, Half]]:
    """Where each row is seen once, as it ended: dropped by a stage, or kept by the last."""
    with_rows = [state for state in run.stage_manifests if state.parts and state.exported is None]
    found: list[tuple[str, Half]] = [(state.name, "dropped") for state in with_rows]
    if with_rows:
        found.append((with_rows[-1].name, "kept"))
    return found


def of_run(run: Run) -> Facts:
    """Read the numbers of a run as it stands; texts are looked through and not held."""
    columns = {*MEASURES, *PARTS}
    ends = halves(run)
    ended = {half: [pl.DataFrame()] for half in ("kept", "dropped")}
    for stage, half in ends:
        scan = run.scan(stage, half)
        there = scan.collect_schema().names()
        words = [
            pl.col(column).fill_null("").str.count_matches(r"\S+").alias(name)
            for name, column in WORDS.items()
            if column in there
        ]
        plain = [name for name in there if name in columns]
        texts = ["instruction"] if half == "kept" and "instruction" in there else []
        ended[half].append(scan.select(*words, *plain, *texts).collect())
    kept, dropped = (pl.concat(ended[half], how="diagonal_relaxed") for half in ("kept", "dropped"))
    instructions = (
        kept["instruction"] if "instruction" in kept.columns else pl.Series([], dtype=pl.String)
    )
    found, without = roots.count(text for text in instructions if text)
    stages = stage_statuses(run)
    state = run.manifest
    return Facts(
        name=run.path.resolve().name,
        recipe=state.recipe,
        status=state.status,
        asks=asked(state),
        started=state.started,
        seconds=state.seconds,
        synth=state.synth,
        kept=kept.height,
        stages=stages,
        distributions=_distributions(kept, dropped),
        parts=_parts(kept, dropped),
        labels=_labels(run, ends),
        label_balance=_label_balance(run),
        openings=_openings(instructions),
        roots=_most(found),
        without_root=without,
        rows_dropped=dropped.height,
        curve=curve.of_run(run),
    )


def _distributions(kept: pl.DataFrame, dropped: pl.DataFrame) -> dict[str, Distribution]:
    found = {}
    for name in MEASURES:
        after, others = (
            frame[name].cast(pl.Float64).drop_nulls().drop_nans()
            if name in frame.columns
            else pl.Series([], dtype=pl.Float64)
            for frame in (kept, dropped)
        )
        before = pl.concat([after, others])
        before = before.filter(before.is_finite())
        if before.n_unique() > 1:
            found[name] = distribution(before, after.filter(after.is_finite()))
    return found


def distribution(before: pl.Series, after: pl.Series) -> Distribution:
    """Count values in equal bins from the lowest to the highest but the last half a per cent."""
    low, high = float(before.min()), float(before.max())  # type: ignore[arg-type]
    top = float(before.quantile(TAIL, "higher") or high)
    is_cut = top > low and high > top
    top = top if top > low else high
    is_whole = bool(((before % 1) == 0).all())
    width = (top - low) / BINS
    if is_whole and top - low <= BINS:
        width = 1.0
        low -= 0.5
    n = max(round((top - low) / width + (0.5 if is_whole and width == 1.0 else 0)), 1)
    edges = [low + width * at for at in range(n + 1)]

    def counts(values: pl.Series) -> list[int]:
        at = ((values - low) / width).floor().clip(0, n - 1).cast(pl.Int64)
        counted = Counter(at.to_list())
        return [counted[number] for number in range(n)]

    mean_after = after.mean()
    return Distribution(
        edges=edges,
        before=counts(before),
        after=counts(after),
        is_cut=is_cut,
        mean_before=float(before.mean()),  # type: ignore[arg-type]
        mean_after=None if mean_after is None else float(mean_after),  # type: ignore[arg-type]
    )


def _parts(kept: pl.DataFrame, dropped: pl.DataFrame) -> dict[str, list[tuple[str, int, int]]]:
    """The shares of columns that have more than one value."""
    found = {}
    for name in PARTS:
        after, others = (
            Counter(frame[name].cast(pl.String).fill_null("not said").to_list())
            if name in frame.columns
            else Counter[str]()
            for frame in (kept, dropped)
        )
        before = after + others
        if len(before) > 1:
            most = before.most_common(MOST_VALUES)
            found[name] = [(value, n, after[value]) for value, n in most]
            if rest := before.total() - sum(n for _, n, _ in found[name]):
                rest_after = after.total() - sum(n for *_, n in found[name])
                found[name].append((f"{len(before) - MOST_VALUES} others", rest, rest_after))
    return found


def _labels(run: Run, ends: Sequence[tuple[str, Half]]) -> list[tuple[str, int]]:
    """The most frequent outputs of kept classification rows, and how many rows have each."""
    if not ends:
        return []
    scan = run.scan(*ends[-1])
    if not {"is_classification", "output"} <= set(scan.collect_schema().names()):
        return []
    counted = (
        scan.filter(pl.col("is_classification"))
        .select(pl.col("output").str.strip_chars().str.slice(0, LONGEST_LABEL).alias("label"))
        .collect()["label"]
        .drop_nulls()
        .value_counts()
        .sort(["count", "label"], descending=[True, False])
        .head(MOST_LABELS)
    )
    return [(label, n) for label, n in counted.iter_rows() if label]


def _label_balance(run: Run) -> float | None:
    """How even the labels of a task are, 0 to 1, as the stage that made instances measured it."""
    for state in reversed(run.stage_manifests):
        found = state.measures.get("label_balance")
        if found is not None:
            return float(found)
    return None


def _openings(instructions: pl.Series) -> list[tuple[str, int]]:
    first = rf"^\s*(\S+(?:\s+\S+){{{OPENING_WORDS - 1}}})"
    counted = (
        instructions.str.to_lowercase()
        .str.extract(first)
        .str.replace_all(r"\s+", " ")
        .drop_nulls()
        .alias("opening")
        .value_counts()
        .sort(["count", "opening"], descending=[True, False])
        .head(MOST_OPENINGS)
    )
    return [(opening, n) for opening, n in counted.iter_rows() if n > 1]


MOST_VERBS, MOST_OBJECTS = 20, 4
"""How many roots, and objects of each, the paper's figure shows."""


def _most(found: Counter[roots.Root]) -> list[tuple[str, str | None, int]]:
    verbs: Counter[str] = Counter()
    for (verb, _), n in found.items():
        verbs[verb] += n
    chosen: list[tuple[str, str | None, int]] = []
    for verb, n in verbs.most_common(MOST_VERBS):
        objects = Counter({what: k for (of, what), k in found.items() if of == verb and what})
        most = objects.most_common(MOST_OBJECTS)
        chosen += [(verb, what, k) for what, k in most]
        if rest := n - sum(k for _, k in most):
            chosen.append((verb, None, rest))
    return chosen


def strata(sizes: Sequence[int], most: int, least: int) -> list[int]:
    """How many of each stratum are drawn so that at most `most` are: each its share of them.

    Of a small one `least` are drawn, or all it has.

    >>> strata([1000, 100, 3], 110, 5)
    [93, 13, 3]
    >>> strata([5, 5], 100, 5)
    [5, 5]
    """
    if sum(sizes) <= most:
        return list(sizes)
    floors = [min(size, least) for size in sizes]
    left = max(most - sum(floors), 0)
    over = [size - floor for size, floor in zip(sizes, floors, strict=True)]
    whole = max(sum(over), 1)
    return [floor + left * more // whole for floor, more in zip(floors, over, strict=True)]
