"""Recount what a run directory claims, from its files alone.

Reads only what is published: Parquet, JSON, and the journal's table. Nothing here imports the
product, so a mistake in it cannot hide itself.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

DROP = ["drop_reason", "drop_detail", "drop_ref"]  # of runs made before there was a fourth
MAKE_ROWS = ("instances", "evolve", "ponder", "reformulate", "backtranslate", "format")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data_files(run: Path) -> dict[str, str]:
    """SHA-256 of every Parquet file under `stages/` and `data/`, by its path below the run."""
    return {
        path.relative_to(run).as_posix(): digest(path)
        for part in ("stages", "data")
        for path in sorted((run / part).rglob("*.parquet"))
    }


def all_files(run: Path) -> dict[str, tuple[int, str]]:
    """Modification time and SHA-256 of every file of the run, hidden ones too."""
    return {
        path.relative_to(run).as_posix(): (path.stat().st_mtime_ns, digest(path))
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


def stage_json(run: Path, name: str) -> dict[str, Any]:
    """The manifest of the stage called `name`."""
    (path,) = run.glob(f"stages/*-{name}/stage.json")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def rows(run: Path, stage: str, half: str = "kept") -> list[dict[str, Any]]:
    """All published rows of one half of a stage, in order."""
    found: list[dict[str, Any]] = []
    for path in sorted(run.glob(f"stages/*-{stage}/{half}/*.parquet")):
        found += pq.read_table(path).to_pylist()
    return found


def records(run: Path) -> list[dict[str, Any]]:
    """Every record of the journal, read by a connection of its own; none before it is there."""
    if not (run / "journal.sqlite").exists():
        return []
    database = sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone():
            return []
        return [dict(row) for row in database.execute("SELECT * FROM records ORDER BY number")]
    finally:
        database.close()


def replied(run: Path) -> list[str]:
    """What the loopback server calls each request whose reply is in the journal."""
    found = []
    for record in records(run):
        if record["kind"] == "reply":
            found.append(json.loads(record["raw"])["id"].split("-")[1])
    return found


def slots_asked(run: Path) -> int:
    """How many slots of all stages have an intent in the journal."""
    return len({(r["stage"], r["slot"]) for r in records(run) if r["kind"] == "intent"})


def check(run: Path) -> None:
    """Fail unless the books of every stage of the run balance and tell the truth."""
    received: int | None = None
    states = [json.loads(p.read_bytes()) for p in sorted(run.glob("stages/*/stage.json"))]
    assert states, f"{run} has no stage"
    for state in states:
        folder = run / "stages" / f"{state['index'] + 1:02d}-{state['name']}"
        if state["exported"] is not None:
            received = _check_export(run, state, received)
        else:
            received = _check_stage(folder, state, received)


def _check_stage(folder: Path, state: dict[str, Any], received: int | None) -> int:
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    listed = set()
    next_slot = 0
    for part in state["parts"]:
        assert part["first_slot"] == next_slot, f"{folder}: slots are missing or counted twice"
        next_slot = part["next_slot"]
        n = {}
        for half in ("kept", "dropped"):
            entry = part[half]
            path = folder / entry["path"]
            listed.add(path)
            table = pq.read_table(path)
            assert digest(path) == entry["sha256"], f"{path} is not what was listed"
            assert path.stat().st_size == entry["bytes"]
            n[half] = table.num_rows
            assert table.num_rows == entry["rows"]
            assert table.schema.metadata[b"synth.schema"] == b"1"
            drops = state.get("drop_columns", DROP) if half == "dropped" else []
            wanted = list(state["columns"]) + drops
            assert table.column_names == wanted
            ids.update(table["row_id"].to_pylist())
            if half == "dropped":
                named = table["drop_reason"].to_pylist()
                assert all(named), f"{path}: a dropped row without a reason"
                reasons.update(named)
                assert Counter(named) == part["dropped_by_reason"]
        assert part["candidates"] == n["kept"] + n["dropped"]
        totals.update(n)
    assert state["next_slot"] == next_slot
    assert {path for path in folder.rglob("*") if path.suffix == ".parquet"} == listed
    assert max(ids.values(), default=1) == 1, f"{folder}: a row id stands twice"
    assert state["candidates"] == totals["kept"] + totals["dropped"]
    assert (state["kept"], state["dropped"]) == (totals["kept"], totals["dropped"])
    assert Counter(state["dropped_by_reason"]) == reasons
    if received is not None and state["complete"]:
        _check_received(state, received)
    if state["stage"] in ("bootstrap", "one-call", "unnatural", "instances"):
        _check_items(folder, ids, next_slot)
    return totals["kept"]


def _check_items(folder: Path, ids: Iterable[str], n_slots: int) -> None:
    """Every slot has its items 0, 1, 2, ... in one half or the other: none went unsaid."""
    items: dict[int, list[int]] = {slot: [] for slot in range(n_slots)}
    for row_id in ids:
        slot, item = row_id.split("-")[-2:]
        items[int(slot)].append(int(item))
    for slot, numbers in items.items():
        assert numbers, f"{folder}: slot {slot} left no row"
        assert sorted(numbers) == list(range(len(numbers))), f"{folder}: slot {slot}: {numbers}"


def _check_received(state: dict[str, Any], received: int) -> None:
    if state["stage"] in MAKE_ROWS:  # one or more for each that it received
        assert state["next_slot"] == received
        assert state["candidates"] >= received
    else:
        assert state["candidates"] == received, f"{state['name']} lost rows"


def _check_export(run: Path, state: dict[str, Any], received: int | None) -> int:
    for form in ("messages", "alpaca"):
        tables = [pq.read_table(path) for path in sorted((run / "data" / form).glob("*.parquet"))]
        ids = [row_id for table in tables for row_id in table["row_id"].to_pylist()]
        assert len(ids) == len(set(ids)) == received, f"data/{form} is not what was kept"
    assert state["exported"] == received
    assert (state["candidates"], state["kept"], state["dropped"]) == (received, received, 0)
    return state["kept"]
