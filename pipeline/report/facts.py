"""The numbers of a report: what each stage took in and dropped, and how rows are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import polars as pl

from pipeline import store
from pipeline.inspect import Run
from pipeline.manifest import Half
from pipeline.report import curve, roots
from pipeline.status import OUTDATED, StageStatus, asked, holder, outdated, stage_statuses

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
MOST_LABELS = 15
LONGEST_LABEL = 200
OPENING_WORDS = 3
MOST_OPENINGS = 20
LONGEST_OPENING = 200
WORD = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"
    r"|[^\s\p{P}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"
    r"[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]*"
)
"""A word: what blanks part, and each sign of Han, kana and hangul, which are not spaced."""
AT_ONCE = 2048
"""How many rows are held while they are looked through."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure of the rows of a run, as Float64: of those kept, and of those dropped.

    Nulls and what is no number are left out; `not_finite` counts rows with an infinite one.
    """

    kept: pl.Series
    dropped: pl.Series
    not_finite: int

    @property
    def all(self) -> pl.Series:
        """Of kept rows and dropped ones."""
        return pl.concat([self.kept, self.dropped])


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers of one run. `measured` and `parts` are by measure and by column.

    `state` says of a run that is not finished what it is, `ended` why. A part's counts are (value,
    rows before, rows after), most first. `openings` are the first words of kept instructions with
    how often they occur, `roots` verb, object and rows, `labels` the most frequent outputs of
    classification tasks; `curve` has what a fine-tuning logged, step by step.
    """

    name: str
    recipe: str
    status: str
    state: str
    ended: str | None
    asks: str
    started: str
    seconds: float
    synth: str
    kept: int
    kept_by: str | None
    stages: list[StageStatus]
    measured: dict[str, Measured]
    parts: dict[str, list[tuple[str, int, int]]]
    labels: list[tuple[str, int]]
    label_balance: float | None
    openings: list[tuple[str, int]]
    roots: list[tuple[str, str | None, int]]
    without_root: int
    rows_dropped: int
    curve: list[dict[str, float]]

    @property
    def unfinished(self) -> list[StageStatus]:
        """The stages that are not complete, begun or not."""
        return [stage for stage in self.stages if stage.state != "complete"]

    @property
    def outdated(self) -> list[str]:
        """The stages whose rows are of an earlier pass; the page shows none of them."""
        return [stage.name for stage in self.stages if stage.state == OUTDATED]

    @property
    def requests(self) -> int:
        """Requests of all stages."""
        return sum(stage.requests for stage in self.stages)

    @property
    def tokens(self) -> int:
        """Tokens of all stages, input and output."""
        return sum(stage.input_tokens + stage.output_tokens for stage in self.stages)

    @property
    def cost(self) -> str | None:
        """What all stages cost, in dollars; null where no model has a price."""
        costs = [Decimal(stage.cost_usd) for stage in self.stages if stage.cost_usd is not None]
        return dollars(sum(costs, Decimal(0))) if costs else None


def dollars(cost: Decimal) -> str:
    """An amount in cents, or as exact as two of its digits need.

    >>> dollars(Decimal("1234.567")), dollars(Decimal("0.0000123")), dollars(Decimal(0))
    ('$1,234.57', '$0.000012', '$0.00')
    """
    return f"${cost:,.{max(2, 1 - cost.adjusted()) if cost else 2}f}"


def halves(run: Run) -> list[tuple[str, Half]]:
    """Where each row is seen once, as it ended: dropped by a stage, or kept by the last.

    What an outdated stage holds is of an earlier pass, and left out.
    """
    gone = outdated(run)
    with_rows = [
        state.name
        for state in run.stage_manifests
        if state.parts and state.exported is None and state.name not in gone
    ]
    found: list[tuple[str, Half]] = [(name, "dropped") for name in with_rows]
    if with_rows:
        found.append((with_rows[-1], "kept"))
    return found


def columns(run: Run, stage: str, half: Half) -> pl.Schema:
    """The columns that the shards of one half of a stage have."""
    for path in run.shards(stage, half):
        with store.opened(path) as file:
            return pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table())).schema
    return pl.Schema()


def frames(run: Run, stage: str, half: Half, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Rows of a half in their order, few at a time: their texts may be long."""
    for path in run.shards(stage, half):
        with store.opened(path) as file:
            for batch in file.iter_batches(batch_size=AT_ONCE, columns=list(names)):
                yield pl.DataFrame(pl.from_arrow(batch))


@dataclass
class _Seen:
    """What is gathered of one half of the rows, frame by frame."""

    rows: int = 0
    numbers: dict[str, list[pl.Series]] = field(default_factory=dict)
    parts: dict[str, Counter[str]] = field(default_factory=dict)
    openings: Counter[str] = field(default_factory=Counter)
    roots: Counter[roots.Root] = field(default_factory=Counter)
    without_root: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, frame: pl.DataFrame) -> None:
        """Count what the next rows have."""
        self.rows += frame.height
        for name, column in WORDS.items():
            if column in frame.columns:
                words = frame[column].fill_null("").str.count_matches(WORD)
                self.numbers.setdefault(name, []).append(words)
        for name in frame.columns:
            if name in MEASURES:
                self.numbers.setdefault(name, []).append(frame[name])
            if name in PARTS:
                values = frame[name].cast(pl.String).fill_null("not said").value_counts()
                self.parts.setdefault(name, Counter()).update(dict(values.iter_rows()))

    def add_texts(self, frame: pl.DataFrame) -> None:
        """Count openings and roots of kept instructions, and the outputs of classifications."""
        if "instruction" in frame.columns:
            self.openings.update(dict(_openings(frame["instruction"]).iter_rows()))
            found, without = roots.count(text for text in frame["instruction"] if text)
            self.roots.update(found)
            self.without_root += without
        if {"is_classification", "output"} <= set(frame.columns):
            outputs = frame.filter(pl.col("is_classification"))["output"].str.strip_chars()
            labels = outputs.drop_nulls().str.slice(0, LONGEST_LABEL).value_counts()
            self.labels.update(dict(labels.iter_rows()))

    def measure(self, name: str) -> pl.Series:
        """The numbers of one measure, without nulls and what is no number."""
        found = [values.cast(pl.Float64) for values in self.numbers.get(name, [])]
        return pl.concat([pl.Series([], dtype=pl.Float64), *found]).drop_nulls().drop_nans()


def _gathered(run: Run, ends: Sequence[tuple[str, Half]]) -> dict[Half, _Seen]:
    """What there is of kept and of dropped rows; texts are looked through and not held."""
    wanted = {*MEASURES, *PARTS, *WORDS.values(), "row_id"}
    seen: dict[Half, _Seen] = {"kept": _Seen(), "dropped": _Seen()}
    for stage, half in ends:
        there = [name for name in columns(run, stage, half) if name in wanted]
        for frame in frames(run, stage, half, there):
            seen[half].add(frame)
            if half == "kept":
                seen[half].add_texts(frame)
    return seen


def of_run(run: Run) -> Facts:
    """Read the numbers of a run as it stands. Raises `DamagedError` where a shard is."""
    ends = halves(run)
    seen = _gathered(run, ends)
    kept, dropped = seen["kept"], seen["dropped"]
    state = run.manifest
    return Facts(
        name=run.path.resolve().name,
        recipe=state.recipe,
        status=state.status,
        state=_state(run),
        ended=None if state.ended is None or state.status != "stopped" else state.ended.message,
        asks=asked(state),
        started=state.started,
        seconds=state.seconds,
        synth=state.synth,
        kept=kept.rows,
        kept_by=ends[-1][0] if ends else None,
        stages=stage_statuses(run),
        measured=_measured(kept, dropped),
        parts=_parts(kept.parts, dropped.parts),
        labels=[(text, n) for text, n in _first(kept.labels, MOST_LABELS) if text],
        label_balance=_label_balance(run),
        openings=[(text, n) for text, n in _first(kept.openings, MOST_OPENINGS) if n > 1],
        roots=_most(kept.roots),
        without_root=kept.without_root,
        rows_dropped=dropped.rows,
        curve=curve.of_run(run),
    )


def _state(run: Run) -> str:
    """What a run is doing, in words."""
    if run.manifest.status != "running":
        return run.manifest.status
    worker = holder(run.path)
    return "cut off: its process has ended without a word" if worker is None else "at work"


def _measured(kept: _Seen, dropped: _Seen) -> dict[str, Measured]:
    """The measures that rows have."""
    found = {}
    for name in MEASURES:
        after, others = kept.measure(name), dropped.measure(name)
        finite = Measured(
            after.filter(after.is_finite()),
            others.filter(others.is_finite()),
            not_finite=sum(map(int, (one.is_infinite().sum() for one in (after, others)))),
        )
        if len(after) or len(others):
            found[name] = finite
    return found


def _parts(
    kept: dict[str, Counter[str]], dropped: dict[str, Counter[str]]
) -> dict[str, list[tuple[str, int, int]]]:
    """How many rows have which value of a column."""
    found = {}
    for name in PARTS:
        after = kept.get(name, Counter())
        before = after + dropped.get(name, Counter())
        if before:
            found[name] = [(value, n, after[value]) for value, n in _first(before)]
    return found


def _first(counted: Counter[str], most: int | None = None) -> list[tuple[str, int]]:
    """The most frequent first, and of those that are as frequent the first by its text."""
    return sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:most]


def _label_balance(run: Run) -> float | None:
    """How even the labels of a task are, 0 to 1, as the stage that made instances measured it."""
    for state in reversed(run.stage_manifests):
        found = state.measures.get("label_balance")
        if found is not None:
            return float(found)
    return None


def _openings(instructions: pl.Series) -> pl.DataFrame:
    """The first words of instructions (`opening`), and how many begin so (`count`)."""
    first = rf"^(\S+(?:\s+\S+){{{OPENING_WORDS - 1}}})"
    return (
        instructions.str.strip_chars_start()
        .str.slice(0, LONGEST_OPENING)
        .str.to_lowercase()
        .str.extract(first)
        .str.replace_all(r"\s+", " ")
        .drop_nulls()
        .alias("opening")
        .value_counts()
    )


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
