"""Runs for the page: one whose every text would do harm, and any rows as the store writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import manifest
from pipeline.manifest import RunManifest, StageManifest, stage_folder
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.schema import COLUMNS, DROP_COLUMNS, in_order
from pipeline.store import StageFolder
from tests.report.payloads import PAYLOADS

RULE = '''
import polars as pl

def odd(instruction: pl.Series) -> pl.DataFrame:
    """Drop every third row; its own text is the rule, and what was measured."""
    frame = pl.DataFrame({"said": instruction}).with_row_index("at")
    said = pl.when(pl.col("at") % 3 == 0).then(pl.col("said"))
    return frame.select(reason=said, detail=said)
'''
NAME = "<img src=x onerror=window.hit=1>"


def hostile_run(folder: Path) -> Path:
    """A run of 150 rows, a third of them dropped."""
    rows = folder / f"{NAME}.jsonl"
    lines = [{"instruction": text, "input": text, "output": f"{text} {n}"} for n, text in
             enumerate(PAYLOADS)]  # fmt: skip
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rule = folder / "odd.py"
    rule.write_text(RULE)
    recipe = folder / "hostile.yaml"
    recipe.write_text(
        "name: hostile\nstages:\n  - stage: import\n"
        f"  - {{stage: filter, filters: {{{json.dumps(f'{rule}:odd')}: {{}}}}}}\n"
    )
    out = folder / NAME
    execute(prepare(Options(recipe=str(recipe), out=str(out), input=str(rows))), lambda _: None)
    return out


Rows = Sequence[Mapping[str, Any]]


def made_run(
    out: Path, stages: Mapping[str, tuple[Rows, Rows]], *, complete: int | None = None,
    measures: dict[str, Any] | None = None, **said: Any,
) -> Path:  # fmt: skip
    """A run with these rows: kept and dropped ones by the name of the stage.

    Columns that are not of the schema have the type of their values. The first `complete` stages
    are, null means all; `measures` are of each, and what is `said` more is of `run.json`.
    """
    types = _types([row for halves in stages.values() for rows in halves for row in rows])
    for index, (name, (kept, dropped)) in enumerate(stages.items()):
        columns = dict.fromkeys(key for row in (*kept, *dropped) for key in row)
        own = in_order([key for key in columns if key in COLUMNS and not key.startswith("drop_")])
        state = StageManifest(
            name=name, stage=name, index=index, version=1, fingerprint="", columns=own, settings={},
            measures=measures or {},
        )  # fmt: skip
        (out / stage_folder(index, name)).mkdir(parents=True)
        folder = StageFolder(out, state, 10_000)
        folder.create()
        others = [key for key in columns if key not in COLUMNS]
        tables = [
            pa.Table.from_pylist(
                [dict(row) for row in rows],
                pa.schema([(key, types[key]) for key in (*own, *others, *extra)]),
            )
            for rows, extra in ((kept, ()), (dropped, DROP_COLUMNS))
        ]
        folder.publish_tables(*tables, next_slot=1, journal=0)
        if complete is None or index < complete:
            folder.seal(journal=0)
    given = {
        "synth": "0.1.0", "recipe": "made", "status": "finished", "teacher": "", "identity": {},
        "started": "2026-01-01T00:00:00+00:00", "extent": {}, "decision": {},
        "stages": [stage_folder(index, name) for index, name in enumerate(stages)],
    }  # fmt: skip
    manifest.replace(out / "run.json", RunManifest(**given | said))
    return out


def _types(rows: Rows) -> dict[str, pa.DataType]:
    """The types of the columns of the schema, and of others that rows have."""
    others = {key: value for row in rows for key, value in row.items() if key not in COLUMNS}
    return {name: column.type for name, column in COLUMNS.items()} | {
        key: pa.scalar(value).type for key, value in others.items()
    }


WITH_ROWS = 4
"""How many of the runs of `hostile_everywhere` have rows, and so charts."""


def run_names(most: int = 250) -> list[str]:
    """The payloads as names of folders, as many in each as a file system takes; none has a /."""
    names = [""]
    for payload in PAYLOADS:
        name = payload.replace("/", "\\")
        if len((names[-1] + name).encode()) > most:
            names.append("")
        names[-1] += name
    return names


def hostile_everywhere(folder: Path) -> list[Path]:
    """Runs whose names are the payloads; the first has each in every text, id, column and name."""
    scores = dict.fromkeys(PAYLOADS, 0.5)
    notes = {f"{payload} noted": payload for payload in PAYLOADS}
    kept, dropped = [], []
    for n, payload in enumerate(PAYLOADS):
        text = f"{payload} three words"
        row = {
            "instruction": text, "input": payload, "output": payload, "reasoning": payload,
            "language": payload, "source": payload, "domain": payload, "task_type": payload,
            "operation": payload, "data_set": payload, "origin": payload, "teacher": payload,
            "is_classification": True, "rating": n / 10, "rating_reason": payload,
            "messages": [{"role": payload, "content": payload}], "parent_id": f"{payload} kept",
            "root_id": f"{payload} seed", "nearest_id": f"{payload} 2", "shown": [f"{payload} 3"],
            "answers": [{"source": payload, "text": payload}], "verdict": payload,
            "ratings": [{"dimension": payload, "rating": 1.0, "votes": [1.0], "reason": payload}],
            "requests": [{"stage": payload, "key": payload, "template": payload, "model": payload}],
            **(scores | notes if n == 0 else {}),
        }  # fmt: skip
        kept += [row | {"row_id": f"{payload} kept"}, row | {"row_id": f"{payload} again"}]
        dropped.append(row | {"row_id": f"{payload} gone", "drop_reason": payload,
                              "drop_detail": payload, "drop_ref": f"{payload} kept"})  # fmt: skip
    every = " ".join(PAYLOADS)
    first, *others = run_names()
    measures = {"results": {every: dict.fromkeys(PAYLOADS, 1.0)}}
    runs = [
        made_run(
            folder / first, {"import": (kept, []), "filter": (kept, dropped)}, complete=1,
            measures=measures, status="stopped", recipe=every, teacher=every, judge=every,
            ended={"exit_code": 4, "message": every},
        )
    ]  # fmt: skip
    row = {"row_id": "a-1", "instruction": "Say so.", "rating": 2.5}
    return runs + [
        made_run(folder / name, {"import": ([row] if at < WITH_ROWS else [], [])})
        for at, name in enumerate(others, start=1)
    ]
