"""The rows of a report: all of them, or a sample by stratum where there are more than it shows.

A stratum is a rule of a stage, or what the last stage kept. What a row refers to and is not among
them is given by its instruction alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from random import Random
from typing import Any

import polars as pl

from pipeline import schema
from pipeline.errors import InputError
from pipeline.inspect import Run
from pipeline.manifest import Half
from pipeline.report.facts import columns, frames, halves
from pipeline.report.strata import strata

SEED = 42
LEAST = 50
"""Of each stratum so many rows are shown, or all it has, where there is room for that."""
LONGEST = 4000
"""Characters of a text that are shown; the page says where there are more."""
LISTED = 5
"""Of a conversation and of other lists so many times as much is shown."""
LONGEST_OTHER = 300
SHORTEST_OTHER = 60
REFERS = ("parent_id", "root_id", "nearest_id", "drop_ref")
LISTS = ("shown", "demonstrations")
WHOLE = {"row_id", "drop_reason", *REFERS}
"""What other rows and filters go by is never cut."""
NOT_SHOWN = {"embedding"}


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows as plain data, how many there are in all, and instructions of others by their id.

    A row has `stage` (which dropped it, or the last that kept it), `is_kept`, its columns, and
    `cut`: by column how many characters and, of a list, how many entries are left out. `least` is
    how many rows of a rule are shown at least, where it has more.
    """

    rows: list[dict[str, Any]]
    total: int
    others: dict[str, str]
    least: int

    @property
    def size(self) -> int:
        """How much text it has, in characters."""
        return sum(map(_size, self.rows)) + sum(map(_size, self.others.items()))

    @property
    def is_cut(self) -> bool:
        """Whether a text is not shown to its end."""
        return any("cut" in row for row in self.rows)

    def shortened(self, longest: int) -> Sample:
        """The same with texts of at most `longest` characters."""
        of_others = min(max(longest // 10, SHORTEST_OTHER), LONGEST_OTHER)
        return replace(
            self,
            rows=[shortened(row, longest) for row in self.rows],
            others={id_: _beginning(text, of_others) for id_, text in self.others.items()},
        )


def of_runs(runs: Sequence[Run], most: int) -> list[Sample]:
    """At most `most` rows of all runs together, the same each time; each run has its fair share.

    Raises `InputError` where `most` is not even a row of each run.
    """
    if most < len(runs):
        raise InputError(f"{len(runs)} runs do not fit on a page of {most} rows: ask for more.")
    groups = [_groups(run) for run in runs]
    totals = [sum(map(len, one.values())) for one in groups]
    shares = strata(totals, most, most // len(runs))
    return [_drawn(*one) for one in zip(runs, groups, shares, strict=True)]


Groups = dict[tuple[str, Half, str], Sequence[int]]
"""Of each stratum, a rule in one half of a stage, at which places of that half its rows stand."""


def _groups(run: Run) -> Groups:
    """The strata of a run."""
    found: Groups = {}
    for stage, half in halves(run):
        if half == "kept":
            found[stage, half, ""] = range(run.stage(stage).kept)
            continue
        at = 0
        places: dict[str, list[int]] = {}
        for frame in frames(run, stage, half, ["drop_reason"]):
            for place, reason in enumerate(frame["drop_reason"], start=at):
                places.setdefault(reason, []).append(place)
            at += frame.height
        found |= {(stage, half, reason): group for reason, group in places.items()}
    return found


def _drawn(run: Run, groups: Groups, most: int) -> Sample:
    sizes = [len(group) for group in groups.values()]
    shares = strata(sizes, most, LEAST)
    rng = Random(SEED)
    chosen: dict[tuple[str, Half], set[int]] = {}
    for ((stage, half, _), group), n in zip(groups.items(), shares, strict=True):
        chosen.setdefault((stage, half), set()).update(rng.sample(group, n))
    rows = [row for (stage, half), places in chosen.items()
            for row in _rows(run, stage, half, places)]  # fmt: skip
    partly = [n for n, size in zip(shares, sizes, strict=True) if n < size]
    return Sample(rows, sum(sizes), _others(run, rows), min(partly, default=0))


def _rows(run: Run, stage: str, half: Half, chosen: set[int]) -> Iterator[dict[str, Any]]:
    """The rows at the chosen places, in their order."""
    shown = [name for name in columns(run, stage, half) if name not in NOT_SHOWN]
    at = 0
    for frame in frames(run, stage, half, shown):
        here = [place for place in range(frame.height) if at + place in chosen]
        for row in frame[here].iter_rows(named=True) if here else ():
            there = {
                name: _plain(value) for name, value in row.items() if value not in (None, "", [])
            }
            yield shortened(there, LONGEST) | {"stage": stage, "is_kept": half == "kept"}
        at += frame.height


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of any type
    """A cell as JSON can say it, which has no infinite numbers; nulls in it are left out."""
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _size(value: object) -> int:
    """How much text a value has, in characters; an entry of a list counts one more."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple):
        return len(value) + sum(map(_size, value))
    return 0


def shortened(row: dict[str, Any], longest: int) -> dict[str, Any]:
    """A row whose texts have at most `longest` characters, and lists at most `LISTED` times that.

    >>> shortened({"row_id": "a-1", "output": "abcdef"}, 4)
    {'row_id': 'a-1', 'output': 'abcd', 'cut': {'output': [2, 0]}}
    """
    found = dict(row)
    cut = {name: list(left_out) for name, left_out in row.get("cut", {}).items()}
    for name, value in row.items():
        if name in WHOLE or name == "cut" or not isinstance(value, str | list):
            continue
        room = longest if isinstance(value, str) else longest * LISTED
        if (size := _size(value)) <= room:
            continue
        short = found[name] = _within(value, room)
        before = cut.setdefault(name, [0, 0])
        before[0] += size - _size(short)
        before[1] += 0 if isinstance(value, str) else len(value) - len(short)
    return found | {"cut": cut} if cut else found


def _within(value: Any, room: int) -> Any:  # noqa: ANN401 - a cell of any type
    """As much of a value as there is room for."""
    if isinstance(value, str):
        return value[:room]
    if isinstance(value, dict):
        return dict(zip(value, _each_within(value.values(), room), strict=True))
    if isinstance(value, list):
        entries: list[Any] = []
        for one in value:
            if room <= 0:
                break
            entries.append(_within(one, room - 1))
            room -= 1 + _size(entries[-1])
        return entries
    return value


def _each_within(values: Any, room: int) -> Iterator[Any]:  # noqa: ANN401 - cells of any type
    for value in values:
        yield (short := _within(value, room))
        room = max(room - _size(short), 0)


def _beginning(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _others(run: Run, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The instructions of what the rows refer to and that are not among them."""
    wanted = {row[name] for row in rows for name in REFERS if name in row}
    wanted |= {one for row in rows for name in LISTS for one in row.get(name, ())}
    wanted -= {row["row_id"] for row in rows}
    found = {
        id_: _beginning(task.instruction, LONGEST_OTHER)
        for id_, task in run.seeds.items()
        if id_ in wanted
    }
    wanted -= found.keys()
    for state in run.stage_manifests:
        if not wanted or state.exported is not None or not state.parts:
            continue
        for half in ("kept", "dropped"):
            if "instruction" not in columns(run, state.name, half):
                continue
            for frame in frames(run, state.name, half, ("row_id", "instruction")):
                here = [at for at, id_ in enumerate(frame["row_id"]) if id_ in wanted]
                if here:
                    ids, texts = frame["row_id"][here], frame["instruction"][here].fill_null("")
                    short = (_beginning(text, LONGEST_OTHER) for text in texts)
                    found |= dict(zip(ids, short, strict=True))
            wanted -= found.keys()
    return found


def shown_columns(runs: Sequence[Run]) -> list[tuple[str, bool]]:
    """The columns of rows, and whether each is a number to sort by: in the order of the schema.

    A run of a later synth may have others; they come last.
    """
    there: dict[str, pl.DataType] = {}
    for run in runs:
        for stage, half in halves(run):
            there = {**columns(run, stage, half), **there}
    first = [name for name in schema.COLUMNS if name in there]
    names = [*first, *(name for name in there if name not in schema.COLUMNS)]
    return [(name, there[name].is_numeric()) for name in names if name not in NOT_SHOWN]
