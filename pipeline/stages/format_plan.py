"""What becomes of each row in the stage `format`: decided once all rows have been looked at.

Every draw is decided by the run's seed and the row's id, so that neither shards nor the order of
work nor a kill reach a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from filters.near_duplicates.minhash import shingled, signatures
from filters.nearest import Places, Table, directions
from filters.shingles import BATCH, Runs, concatenate, folded, is_small
from pipeline.errors import InputError
from pipeline.format_templates import Form, FormatFile, FormatTemplate
from pipeline.stage import Drop, Parts, Row
from pipeline.stages.conversations import is_one_exchange, whole_conversation
from pipeline.stages.demonstrations import Pool, Wanted, choose, pool_of, rank, share_of
from pipeline.stages.export import side_number
from pipeline.stages.format_settings import DEMONSTRATIONS, STEPS, Config
from pipeline.stages.row_values import (
    COLUMNS,
    MOST_CHOICES,
    Given,
    Language,
    RowValues,
    language_of,
    stored,
)

SPARE = 12
"""So many more rows are chosen than are shown: some would give the answer away."""
MOST_ALIKE = 0.7
RUN = 8
RARE = 20
"""A run of so many words that no more rows share than this, and not one in a hundred, is no phrase
of an instruction: it is of the text that they are about, which one of them asks about in other
words, or gives as its answer."""
MOST_ALIKE_VECTORS = 0.9
LONG = 30  # characters of an answer that two rows do not share by chance, as they do a label
ASKS_STEPS: tuple[Form, ...] = ("plain", "prefix", "cloze")
"""Forms whose output is the answer that steps lead to."""


@dataclass(frozen=True)
class Templates:
    """The templates of a run, by what they are for, and by language where they have one."""

    tasks: tuple[FormatTemplate, ...]
    languages: Mapping[str, frozenset[str]]
    steps: tuple[FormatTemplate, ...]
    demonstrations: tuple[FormatTemplate, ...]

    def in_language(
        self, templates: Sequence[FormatTemplate], language: Language
    ) -> list[FormatTemplate]:
        """Those in the language; of a task that has none in it all others."""
        return [
            one
            for one in templates
            if _language(one) in (None, language) or language not in self.languages[_task(one)]
        ]


def _task(template: FormatTemplate) -> str:
    return template.label.partition("/")[0].partition(".")[0]


def _language(template: FormatTemplate) -> str | None:
    return template.label.partition("/")[0].partition(".")[2] or None


def templates_of(found: Mapping[str, FormatFile], config: Config) -> Templates:
    """The templates of the files, those of the forms that are wanted."""
    every = [one for file in found.values() for one in file.templates]
    languages: dict[str, set[str]] = {}
    for one in every:
        languages.setdefault(_task(one), set()).add(_language(one) or "")
    return Templates(
        tasks=tuple(
            one for one in every if _task(one) in config.tasks and one.form in config.forms
        ),
        languages={task: frozenset(said) for task, said in languages.items()},
        steps=tuple(one for one in every if _task(one) == STEPS),
        demonstrations=tuple(one for one in every if _task(one) == DEMONSTRATIONS),
    )


@dataclass
class Plan:
    """What becomes of each row, by its place among those that the stage received.

    `picked` are the templates of a task that render it, or why there is none; a row that is not in
    it goes on without. `asked` are the ids of the rows that tasks are made of, null for all. What
    gets steps or demonstrations has a name: the row's id and the number among the rows that are
    made of it. `rows` are those that are shown, `said` is where less can be done than was asked.
    """

    config: Config
    templates: Templates
    given: Given
    asked: set[str] | None = None
    picked: dict[int, tuple[FormatTemplate, ...] | Drop] = field(default_factory=dict)
    with_steps: set[str] = field(default_factory=set)
    shown: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One row that will be made: its name, its parent's place, and what can be done to it."""

    name: str
    place: int
    language: Language
    is_task: bool
    has_steps: bool


def plan(parts: Parts, config: Config, seed: int, found: Mapping[str, FormatFile]) -> Plan:
    """Look at all rows once, or twice where some are shown to others."""
    templates = templates_of(found, config)
    needs_choices = not config.labels and any("choices" in one.used for one in templates.tasks)
    seen = _labels(parts, config) if needs_choices else ()
    given = Given(config.fields, config.values, config.labels, seen, seed)
    made = Plan(config, templates, given)
    if config.tasks and config.share < 1:
        ids = [row["row_id"] for row, _ in _rows(parts) if not is_conversation(row)]
        made.asked = share_of(ids, config.share, len(ids), seed, "tasks")
    looked = _Looked()
    for row, vector in _rows(parts):
        looked.add(row, vector, made)
    _plan_steps(made, looked.units)
    if config.with_demonstrations:
        _plan_demonstrations(made, looked)
        wanted = {place for shown in made.shown.values() for place, _ in shown}
        made.rows = {at: row for at, (row, _) in enumerate(_rows(parts)) if at in wanted}
    return made


def _labels(parts: Parts, config: Config) -> tuple[str, ...]:
    """The labels that rows have, in order; one more than can be listed where they are too many."""
    named = config.fields.get("label", "label")
    found = set[str]()
    for row, _ in _rows(parts):
        label = stored(row).get(named) or row.get(named)
        if label and len(found) <= MOST_CHOICES:
            found.add(str(label))
    return tuple(sorted(found))


def _rows(parts: Parts) -> Iterator[tuple[Row, Any]]:
    """All rows, and the vector of each."""
    for frame in parts():
        vectors: Sequence[Any] = [None] * frame.height
        if "embedding" in frame.columns:
            vectors = [None if one is None else one.to_numpy() for one in frame["embedding"]]
            frame = frame.drop("embedding")
        yield from zip(frame.iter_rows(named=True), vectors, strict=True)


@dataclass
class _Looked:
    """What was seen of all rows."""

    ids: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    units: list[_Unit] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    vectors: list[Any] = field(default_factory=list)
    has_vectors: bool = False
    signed: list[Any] = field(default_factory=list)
    runs: list[Runs] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, row: Row, vector: Any, made: Plan) -> None:  # noqa: ANN401 - an array or null
        """Take in one row: the templates that render it, and the rows that will be made of it."""
        place = len(self.ids)
        self.ids.append(row["row_id"])
        self.roots.append(row["root_id"] or row["row_id"])
        config = made.config
        language = config.language or language_of(row)
        rationale = rationale_of(row, config)
        for item, template in enumerate(_picks(row, place, made, language)):
            asks_steps = template is None or template.form in ASKS_STEPS
            has_steps = bool(rationale) and asks_steps
            name = f"{row['row_id']}:{item}"
            self.units.append(_Unit(name, place, language, template is not None, has_steps))
        if config.with_demonstrations:
            is_task = isinstance(made.picked.get(place), tuple)
            question = _question(row, config, is_task=is_task)
            self.questions.append(question)
            self.numbers.append(_number(question))
            answer = row["output"] or ""
            self.whole.append(f"{question}\n{answer}")
            self.answers.append(_number(answer) if len(answer) > LONG else None)
            self.lengths.append(len(question) + len(answer) + len(rationale))
            self.vectors.append(vector)
            self.has_vectors |= vector is not None
            if len(self.questions) >= BATCH:
                self._sign()

    def _sign(self) -> None:
        self.runs.append(shingled(self.whole, RUN, small=is_small(self.whole)))
        if not self.has_vectors:
            self.signed.append(signatures(self.questions, ngram=1))
        self.questions, self.whole = [], []

    def table(self) -> Table:
        """One row an item: its vector, or the signature of its question."""
        if self.questions or not self.runs:
            self._sign()
        if self.has_vectors:
            try:
                return directions(self.vectors)
            except ValueError as error:
                raise InputError(
                    f"the rows cannot be compared: {error}. Give them vectors of one model with "
                    "the stage 'embed', or leave the column out."
                ) from error
        found: Table = np.concatenate(self.signed)
        return found

    def shared_runs(self) -> list[frozenset[int]]:
        """For each row the runs of its words that a few other rows have too, as they quote it."""
        runs = concatenate(self.runs)
        _, inverse, counts = np.unique(runs.hashes, return_inverse=True, return_counts=True)
        is_rare = (counts > 1) & (counts <= min(RARE, len(self.ids) // 100))
        kept = is_rare[inverse]
        return [frozenset(runs.hashes[a:b][kept[a:b]].tolist()) for a, b in pairwise(runs.offsets)]


def _picks(row: Row, place: int, made: Plan, language: Language) -> list[FormatTemplate | None]:
    """The templates that a row is rendered by; a null where it goes on with its own texts."""
    config = made.config
    if is_conversation(row):
        return []
    is_whole = why_not(row) is None
    is_asked = made.asked is None or row["row_id"] in made.asked
    if not (config.tasks and is_asked):
        return [None] if is_whole else []
    values = RowValues(row, made.given, language)
    every = made.templates.in_language(made.templates.tasks, language)
    ordered = sorted(
        every, key=lambda one: rank(made.given.seed, f"template:{one.label}", row["row_id"])
    )
    suit: list[FormatTemplate] = []
    for one in ordered:
        if len(suit) < config.rows_a_row and values.all_of(one.used) is not None:
            suit.append(one)
    if suit:
        made.picked[place] = tuple(suit)
    else:
        lacks = "; ".join(f"{name}: {why}" for name, why in sorted(values.missing.items()))
        reasons = Counter(values.missing.values())
        reason = min(reasons, key=lambda why: (-reasons[why], why)) if reasons else "no_template"
        made.picked[place] = Drop(reason, lacks or "no template of these forms")
    return [*suit, *([None] if config.keep_received and is_whole else [])]


def why_not(row: Row) -> Drop | None:
    """Why a row cannot be shown to a model as it is; null where it can."""
    for name in ("instruction", "output"):
        if not (row[name] or "").strip():
            return Drop(f"empty_{name}", f"no {name} to render")
    return None


def is_conversation(row: Row) -> bool:
    """Whether a row is more than one question and its answer: it goes on as it is."""
    turns = whole_conversation(row)
    return bool(turns) and not is_one_exchange(turns)


def _question(row: Row, config: Config, *, is_task: bool) -> str:
    """What two rows have to differ in to be shown together: all fields but labels, or the task."""
    besides = {config.fields.get("label", "label"), config.rationale}
    own = " ".join(text for name, text in stored(row).items() if name not in besides)
    if is_task and own:
        return own
    asked = (row["instruction"], row["input"])
    return "\n".join(part for part in asked if part) or row["output"] or ""


def _number(text: str) -> int:
    """What stands for a text, however it is spaced and written."""
    return rank(0, "text", " ".join(folded(text).split())) >> 1


def rationale_of(row: Row, config: Config) -> str:
    """The chain of thought that a row has; empty without one."""
    found = stored(row).get(config.rationale)
    if found is None and config.rationale in COLUMNS:
        found = row.get(config.rationale)
    return (found or "").strip()


def _plan_steps(made: Plan, units: Sequence[_Unit]) -> None:
    names = [unit.name for unit in units if unit.has_steps]
    share = made.config.with_steps
    made.with_steps = share_of(names, share, len(units), made.given.seed, STEPS)
    wanted = int(share * len(units) + 0.5)
    if len(made.with_steps) < wanted:
        where = made.config.rationale
        made.said.append(f"{wanted} rows were to show steps, and {len(names)} have any ({where}).")


def _plan_demonstrations(made: Plan, looked: _Looked) -> None:
    """Choose rows for each kind of unit: of a language, by tasks or not, with steps or not."""
    config, seed = made.config, made.given.seed
    texts: Places = np.array(looked.numbers, np.int64)
    table = looked.table()
    runs = looked.shared_runs()
    shown_to_none = {
        place
        for place, root in enumerate(looked.roots)
        if side_number(root, seed) < config.held_out
        or looked.lengths[place] > config.longest_demonstration
    }
    pools: dict[tuple[Any, ...], Pool] = {}
    kinds: dict[tuple[Any, ...], dict[str, _Unit]] = {}
    for unit in looked.units:
        kind = (unit.language, unit.is_task, unit.name in made.with_steps)
        kinds.setdefault(kind, {})[unit.name] = unit
    for language, is_task, steps in kinds:
        places = {
            unit.place
            for unit in looked.units
            if (unit.language, unit.is_task) == (language, is_task)
            and (unit.has_steps or not steps)
        }
        kind = (language, is_task, steps)
        pools[kind] = pool_of(places - shown_to_none, looked.ids, texts, seed)
    can = [
        name
        for kind, units in kinds.items()
        for name, unit in units.items()
        if _has_others(pools[kind], int(texts[unit.place]))
    ]
    n = int(config.with_demonstrations * len(looked.units) + 0.5)
    left = sorted(can, key=lambda name: (rank(seed, DEMONSTRATIONS, name), name))
    units = {unit.name: unit for unit in looked.units}
    while left and len(made.shown) < n:  # some have nothing that they may be shown
        batch, left = left[: n - len(made.shown)], left[n - len(made.shown) :]
        for kind in kinds:
            own = [units[name] for name in batch if name in kinds[kind]]
            made.shown |= _chosen(own, pools[kind], texts, table, runs, made, looked)
    if len(made.shown) < n:
        made.said.append(
            f"{n} rows were to show others, and {len(made.shown)} find any that they may show: the "
            "rest are too alike (alike_at_most), too long (longest_demonstration) or held_out."
        )


def _chosen(
    units: Sequence[_Unit],
    pool: Pool,
    texts: Places,
    table: Table,
    runs: Sequence[frozenset[int]],
    made: Plan,
    looked: _Looked,
) -> dict[str, list[tuple[int, float]]]:
    """The demonstrations of rows of one kind, those of them that find any."""
    config, seed = made.config, made.given.seed
    at_most = config.alike_at_most
    if at_most is None:
        at_most = MOST_ALIKE if table.dtype == np.uint32 else MOST_ALIKE_VECTORS
    wanted = []
    for unit in units:
        more = rank(seed, "how_many", unit.name) % (config.most - config.fewest + 1)
        made.numbers[unit.name] = config.fewest + more
        wanted.append(Wanted(unit.name, unit.place, config.fewest + more + SPARE))
    found = choose(wanted, pool, texts, table, config.chosen, seed, at_most=at_most)
    chosen = {}
    for unit in units:
        own = looked.answers[unit.place]
        usable = [
            (place, score)
            for place, score in found[unit.name]
            if (own is None or looked.answers[place] != own) and not runs[place] & runs[unit.place]
        ]
        if usable:
            n = made.numbers[unit.name] + (SPARE if unit.is_task else 0)
            chosen[unit.name] = usable[:n]
    return chosen


def _has_others(pool: Pool, text: int) -> bool:
    """Whether a pool has a row with another text."""
    return len(pool.texts) > 1 or (len(pool.texts) == 1 and int(pool.texts[0]) != text)
