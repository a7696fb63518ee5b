"""Why a row is as it is: what it was made from, who was asked, and what each stage made of it."""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from pipeline.errors import InputError
from pipeline.manifest import HALVES, Half, StageManifest
from pipeline.rows import ROW_ID, Rows, rows_where
from pipeline.seed_tasks import SeedTask
from pipeline.stages import export
from pipeline.teacher.journal import FAILURE, REPLY
from pipeline.terminal import safe, shorten
from pipeline.tree import Branch, as_lines, tree_of

MOST_COMPARED = 20_000  # ids that a mistyped one is compared with


@dataclass(frozen=True, slots=True)
class Task:
    """A row or seed task that another refers to; `instruction` is null where it cannot be found."""

    id: str
    instruction: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: what the row says of it, and what the journal adds where it has it.

    `failures` counts the tries that brought no reply; tokens are null where the reply did not say.
    """

    stage: str
    key: str
    template: str
    model: str
    slot: int | None = None
    failures: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    is_in_journal: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """What one stage made of the row; one that makes rows "split" it into `rows`."""

    stage: str
    outcome: Literal["taken_in", "made", "kept", "dropped", "split", "exported"]
    reason: str | None = None
    detail: str | None = None
    ref: Task | None = None
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of one row. `texts` are its texts by column; those of a seed task too.

    Printed, it is `as_text()`.
    """

    row_id: str
    is_seed: bool
    texts: dict[str, str | None]
    stage: str | None = None
    slot: int | None = None
    item: int | None = None
    teacher: str | None = None
    source: str | None = None
    is_classification: bool | None = None
    final_answer: str | None = None
    votes: int | None = None
    agreement: float | None = None
    parent: Task | None = None
    root: Task | None = None
    shown: tuple[Task, ...] = ()
    templates: tuple[str, ...] = ()
    demonstrations: tuple[Task, ...] = ()
    nearest: Task | None = None
    nearest_score: float | None = None
    requests: tuple[Asked, ...] = ()
    passages: tuple[Passage, ...] = field(default=())
    tree: Branch | None = None

    @property
    def dropped(self) -> Passage | None:
        """Where it was dropped, if it was."""
        return next((found for found in self.passages if found.outcome == "dropped"), None)

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)

    def as_text(self, width: int = 100) -> str:
        """For people, safe to print; the row's own texts whole, those of others on one line."""
        return "\n".join(_lines(self, width)) + "\n"

    def __str__(self) -> str:
        """The history for people."""
        return self.as_text()


def history(run: Rows, row_id: str) -> History:
    """Trace a row through a run. Raises `InputError` with similar ids where there is none."""
    if row_id in run.seeds:
        return _seed_history(run, run.seeds[row_id])
    found = list(_appearances(run, row_id))
    if not found:
        raise InputError(f"there is no row {safe(row_id)!r} in this run{_similar(run, row_id)}")
    first, last = found[0], found[-1]
    row = last[2]
    parts = ROW_ID.fullmatch(row_id)
    made_here = parts is not None and parts["stage"] == first[0].ids_begin_with
    names = _Names(run, row, [entry[2] for entry in found])
    return History(
        row_id=row_id,
        is_seed=False,
        texts=_texts(row),
        stage=first[0].name,
        slot=int(parts["slot"]) if parts is not None and made_here else None,
        item=int(parts["item"]) if parts is not None and made_here else None,
        teacher=row.get("teacher"),
        source=row.get("source"),
        is_classification=row.get("is_classification"),
        final_answer=row.get("final_answer"),
        votes=row.get("votes"),
        agreement=row.get("agreement"),
        parent=names.task(row.get("parent_id")),
        root=names.task(row.get("root_id")),
        shown=tuple(task for one in row.get("shown") or () if (task := names.task(one))),
        templates=tuple(row.get("templates") or ()),
        demonstrations=tuple(
            task for one in row.get("demonstrations") or () if (task := names.task(one))
        ),
        nearest=names.task(row.get("nearest_id")),
        nearest_score=row.get("nearest_score"),
        requests=tuple(_asked(run, one) for one in row.get("requests") or ()),
        passages=tuple(_passages(run, row_id, found, names)),
        tree=tree_of(run, row_id),
    )


def _texts(row: dict[str, Any]) -> dict[str, str | None]:
    texts = {name: row[name] for name in ("instruction", "input", "output") if name in row}
    return texts | ({"reasoning": row["reasoning"]} if row.get("reasoning") else {})


Appearance = tuple[StageManifest, Half, dict[str, Any]]


def _appearances(run: Rows, row_id: str) -> Iterator[Appearance]:
    """The row as each stage left it, in order."""
    for state in run.stage_manifests:
        if state.exported is not None:
            continue
        for half in HALVES:
            for row in rows_where(run.scan(state.name, half), pl.col("row_id") == row_id):
                yield state, half, row


class _Names:
    """The instructions of all rows that a row refers to, looked up at once, in older runs too."""

    def __init__(self, run: Rows, row: dict[str, Any], versions: Iterable[dict[str, Any]]) -> None:
        named = [row.get("parent_id"), row.get("root_id"), row.get("nearest_id")]
        named += [*(row.get("shown") or ()), *(row.get("demonstrations") or ())]
        named += [version.get("drop_ref") for version in versions]
        wanted = {one for one in named if one is not None}
        self._texts: dict[str, str | None] = {}
        for one in run.ancestors:
            self._look_up(one, wanted)

    def _look_up(self, run: Rows, wanted: set[str]) -> None:
        seeds = (wanted - self._texts.keys()) & run.seeds.keys()
        self._texts |= {one: run.seeds[one].instruction for one in sorted(seeds)}
        for state in run.stage_manifests:
            for half in HALVES:
                missing = sorted(wanted - self._texts.keys())
                if state.exported is None and missing:
                    rows = rows_where(
                        run.scan(state.name, half),
                        pl.col("row_id").is_in(missing),
                        "row_id",
                        "instruction",
                    )
                    self._texts |= {one["row_id"]: one["instruction"] for one in rows}

    def task(self, found: str | None) -> Task | None:
        return None if found is None else Task(found, self._texts.get(found))


def _asked(run: Rows, request: dict[str, Any]) -> Asked:
    asked = Asked(request["stage"], request["key"], request["template"], request["model"])
    records = run.journal(asked.key)
    if not records:
        return asked
    reply = next((record for record in records if record.kind == REPLY), None)
    note = reply.note if reply is not None else {}
    return dataclasses.replace(
        asked,
        slot=records[0].slot,
        failures=sum(record.kind == FAILURE for record in records),
        input_tokens=note.get("input_tokens"),
        output_tokens=note.get("output_tokens"),
        is_in_journal=reply is not None,
    )


def _passages(run: Rows, row_id: str, found: list[Appearance], names: _Names) -> Iterator[Passage]:
    for number, (state, half, row) in enumerate(found):
        if half == "dropped":
            yield Passage(
                state.name,
                "dropped",
                row["drop_reason"],
                row["drop_detail"],
                names.task(row["drop_ref"]),
            )
            return
        if number:
            yield Passage(state.name, "kept")
        else:
            yield Passage(state.name, "taken_in" if state.stage == "import" else "made")
    state, _, row = found[-1]
    for later in run.stage_manifests[state.index + 1 :]:
        if later.exported is not None:
            config = export.Config.model_validate(later.settings)
            seed = int(run.manifest.identity.get("seed", 0))
            side = export.split(row.get("root_id") or row_id, seed, config)
            yield Passage(later.name, "exported", detail=side)
        elif children := _children(run, later, row_id):
            yield Passage(later.name, "split", rows=children)
            return


def _children(run: Rows, state: StageManifest, row_id: str) -> tuple[str, ...]:
    if "parent_id" not in state.columns:
        return ()
    mine = pl.col("parent_id") == row_id
    found = (
        one["row_id"]
        for half in HALVES
        for one in rows_where(run.scan(state.name, half), mine, "row_id")
    )
    return tuple(sorted(found))


def _seed_history(run: Rows, task: SeedTask) -> History:
    first_input, first_output = task.instances[0]
    return History(
        row_id=task.id,
        is_seed=True,
        texts={"instruction": task.instruction, "input": first_input, "output": first_output},
        is_classification=task.is_classification,
    )


def _similar(run: Rows, row_id: str) -> str:
    """The ids nearest to one that is not there, as the end of a message."""
    ids: list[str] = []
    for state in run.stage_manifests:
        for half in HALVES:
            if state.exported is None:
                rows = run.scan(state.name, half).select("row_id").collect()
                ids += rows["row_id"].to_list()
    same_slot = [one for one in (*ids, *run.seeds) if one.startswith(row_id[:-3])]
    known = list(dict.fromkeys(same_slot or [*run.seeds, *ids]))[:MOST_COMPARED]
    near = difflib.get_close_matches(row_id, known, n=3, cutoff=0.6)
    near = near or list(dict.fromkeys(ids))[:3] or list(run.seeds)[:3]
    return f"; there are {', '.join(near)}, ..." if near else "; it has no rows yet."


def _lines(found: History, width: int) -> Iterator[str]:
    yield from _head(found, width)
    for name, text in found.texts.items():
        yield ""
        yield f"{name}{'' if text else ': none' if text is None else ': empty'}"
        yield from textwrap.indent(safe(text or ""), "    ").split("\n") if text else ()
    yield ""
    if found.stage is not None:
        yield f"made by    {_made_by(found)}"
    if found.is_classification is not None:
        yield f"kind       {'classification' if found.is_classification else 'no classification'}"
    if found.votes is not None or found.final_answer is not None:
        yield from _vote_lines(found, width)
    for label, task in (("parent", found.parent), ("root", found.root)):
        if (
            task is not None
            and task.id != found.row_id
            and (label == "parent" or found.parent != task)
        ):
            yield from _named(label, [task], width)
    yield from _named("shown", found.shown, width)
    if found.templates:
        yield f"{'rendered':10} " + shorten(f"by {', '.join(found.templates)}", max(width - 11, 40))
    yield from _named("shows", found.demonstrations, width)
    if found.nearest is not None:
        score = "" if found.nearest_score is None else f"ROUGE-L {found.nearest_score:.4f} "
        yield from _named("nearest", [found.nearest], width, score)
    for number, asked in enumerate(found.requests):
        yield f"{'' if number else 'asked':10} {_asked_text(asked)}"
    for number, passage in enumerate(found.passages):
        yield from _passage_lines(passage, "" if number else "stages", width)
    if found.tree is not None:
        yield ""
        yield "evolved"
        yield from as_lines(found.tree, width, marked=found.row_id)


def _vote_lines(found: History, width: int) -> Iterator[str]:
    yield f"{'answer':10} " + shorten(found.final_answer or "none to compare", max(width - 11, 40))
    if found.votes is not None:
        share = "" if found.agreement is None else f", agreement {found.agreement:.4f}"
        yield f"{'votes':10} {found.votes}{share}"


def _head(found: History, width: int) -> Iterator[str]:
    name = safe(found.row_id)
    if found.is_seed:
        yield f"{name}: a seed task; a person wrote it, no stage judged it"
        return
    dropped = found.dropped
    if dropped is not None:
        yield f"{name}: dropped by {safe(dropped.stage)}: {safe(dropped.reason or '')}"
        if dropped.detail:
            yield "    " + shorten(dropped.detail, width - 4)
    else:
        yield f"{name}: kept"


def _made_by(found: History) -> str:
    parts = [found.stage or ""]
    if found.slot is not None:
        parts.append(f"slot {found.slot}, item {found.item}")
    if found.teacher is not None:
        parts.append(f"teacher {found.teacher}")
    if found.source is not None:
        parts.append(f"from {found.source}")
    return safe(", ".join(parts), keep_lines=False)


def _named(label: str, tasks: Sequence[Task], width: int, before: str = "") -> Iterator[str]:
    longest = max((len(task.id) for task in tasks), default=0)
    for number, task in enumerate(tasks):
        head = f"{'' if number else label:10} {before}{safe(task.id):{longest}}  "
        text = task.instruction
        yield head + shorten("(not here)" if text is None else text, width - len(head))


def _asked_text(asked: Asked) -> str:
    tokens = ""
    if asked.input_tokens is not None:
        tokens = f", {asked.input_tokens} + {asked.output_tokens or 0} tokens"
    failures = f", after {asked.failures} without a reply" if asked.failures else ""
    missing = "" if asked.is_in_journal else " (not in the journal)"
    return safe(
        f"{asked.stage}: {asked.template}, {asked.model}{tokens}{failures}, key {asked.key}"
        f"{missing}",
        keep_lines=False,
    )


def _passage_lines(passage: Passage, label: str, width: int) -> Iterator[str]:
    text: str = passage.outcome
    if passage.outcome == "dropped":
        text = f"dropped: {passage.reason}" + (f" ({passage.detail})" if passage.detail else "")
    elif passage.outcome == "taken_in":
        text = "taken in as it was"
    elif passage.outcome == "split":
        text = f"made {len(passage.rows)} of it: {', '.join(passage.rows)}"
    elif passage.outcome == "exported":
        text = f"written to {passage.detail}"
    yield f"{label:10} " + shorten(f"{passage.stage}: {text}", max(width - 11, 40))
    if passage.ref is not None:
        yield from _named("", [passage.ref], width, "  it met ")
