"""Take rows out of a run for good: out of its shards, its journal, its models and its data set.

In the stage that made a row a line without texts stays, dropped as `purged`, so that the books say
that something was there; in the stages after it there is nothing. All new files are written
beside the old ones first (`purge/`); `purge/plan.json` appearing is the moment from which the purge
holds: what is left of it is done again by the same command, however often it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline import manifest, store
from pipeline.counted import counted
from pipeline.crashpoint import crashpoint
from pipeline.durable import make_folder, sync_folder, sync_tree
from pipeline.errors import InputError
from pipeline.evaluate import report, results
from pipeline.inspect import Run, open_run
from pipeline.manifest import HALVES, FileEntry, Half, Part, RunManifest, StageManifest
from pipeline.model_files import MODEL, PURGED_MODEL, REMOVED
from pipeline.review import books
from pipeline.run import card
from pipeline.run.engines import LOGS
from pipeline.run.folder import check_links
from pipeline.run.lock import locked
from pipeline.run.purge_masked import keys_told
from pipeline.run.purge_model import check_model, has_learned_from
from pipeline.run.results import METRICS, REPORT, results_of
from pipeline.run.sets import sets_of
from pipeline.schema import arrow_schema
from pipeline.stage import EvaluateStage, FilterStage, RenderStage, Row, RowStage
from pipeline.stages import STAGES
from pipeline.teacher.blanking import PURGED, blank

FOLDER = "purge"
CARD = "data/README.md"
SCORER = "scorer"
KEPT_OF_A_LINE = ("row_id", "origin", "teacher", "root_id", "parent_id", "requests", "drop_reason")
"""What stays of a purged row in the stage that made it: no text of it."""
TEXTS = ("instruction", "input", "output", "other_output")


@dataclass
class Purged:
    """What was taken out, and where copies may remain.

    `has_own_card` says that the data card was changed by hand and was left as it is,
    `has_lost_models` that its tiny models, which had learned from the rows, were removed,
    `has_lost_trained` that what it had trained was, `was_out` that the rows were purged before, so
    that nothing was done.
    """

    rows: list[str]
    replies: int = 0
    files: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    has_own_card: bool = False
    has_lost_models: bool = False
    has_lost_trained: bool = False
    was_out: bool = False


def purge(
    path: Path,
    *,
    row: str | None = None,
    sha256: str | None = None,
    descendants: bool = False,
    model: bool = False,
) -> Purged:
    """Take a row out, by its id or by the SHA-256 of one of its texts.

    Raises `InputError` where neither is given or there is no such row, and where it has descendants
    or a trained `model` has learned from it that are not to go too.
    """
    if row is None and sha256 is None:
        raise InputError(
            "name the row to be purged: --row ID, or --hash with a text's SHA-256. --masked takes "
            "out of the journal what a run with  mask:  hides in its rows."
        )
    open_run(path)  # says what is wrong with the folder before a lock is made in it
    with locked(path) as lease:
        check_links(path)
        store.clear_staging(path)  # what a killed process had half written has rows, too
        folder = path / FOLDER
        if not (folder / "plan.json").is_file():
            run = open_run(path)
            if not all(state.complete for state in run.stage_manifests):
                raise InputError(f"{path} is not finished: finish it first, then purge.")
            rows = _rows(run)
            wanted = _wanted(run, rows, row, sha256, descendants=descendants)
            if wanted <= _out(rows):
                return Purged(sorted(wanted), was_out=True)
            check_model(run, wanted, may_go=model)
            _prepare(run, rows, wanted)
        plan = json.loads((folder / "plan.json").read_bytes())
        return _carry_out(path, plan, lease.epoch)


def _rows(run: Run) -> pl.DataFrame:
    """Every row of every stage: its stage, id, parent, texts' digests and request keys."""
    frames = []
    for state in run.stage_manifests:
        for half in HALVES:
            shards = store.shards(run.path / state.folder, state, half)
            if not shards:
                continue
            names = [
                n for n in ("row_id", "parent_id", "demonstrations", *TEXTS) if n in state.columns
            ]
            names += ["drop_reason"] if half == "dropped" else []
            frame = store.read_frame(shards, names)
            frames.append(frame.with_columns(stage=pl.lit(state.index), half=pl.lit(half)))
    return pl.concat(frames, how="diagonal")


def _out(rows: pl.DataFrame) -> set[str]:
    """The rows that were purged before: a line without texts is left of each."""
    if "drop_reason" not in rows.columns:
        return set()
    return set(rows.filter(pl.col("drop_reason") == PURGED)["row_id"])


def _wanted(
    run: Run, rows: pl.DataFrame, row: str | None, sha256: str | None, *, descendants: bool
) -> set[str]:
    found = {row} & set(rows["row_id"]) if row is not None else set()
    if sha256 is not None:
        for name in TEXTS:
            if name in rows.columns:
                found |= {
                    row_id
                    for row_id, text in rows.select("row_id", name).iter_rows()
                    if text is not None and hashlib.sha256(text.encode()).hexdigest() == sha256
                }
    if not found:
        raise InputError(f"{run.path} has no row {row or sha256}.")
    below = set(found)
    if "parent_id" in rows.columns:
        pairs = list(rows.select("row_id", "parent_id").unique().iter_rows())
        if "demonstrations" in rows.columns:  # the text of a row is in those that show it
            shown = rows.select("row_id", "demonstrations").drop_nulls().explode("demonstrations")
            pairs += shown.drop_nulls().unique().iter_rows()
        while more := {one for one, parent in pairs if parent in below} - below:
            below |= more
    others = sorted(below - found - _out(rows))
    if others and not descendants:
        raise InputError(
            f"{counted(len(others), 'row was', 'rows were')} made from it: "
            f"{', '.join(others[:10])}. Take --descendants to purge such rows too, or purge them "
            "one by one before it."
        )
    return below


def _prepare(run: Run, rows: pl.DataFrame, wanted: set[str]) -> None:
    """Write all new files into `purge/`, and the plan last."""
    folder = run.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    made_in = {
        str(row_id): int(stage)
        for row_id, stage in rows.group_by("row_id").agg(pl.col("stage").min()).iter_rows()
    }
    parents = (
        dict(rows.select("row_id", "parent_id").iter_rows()) if "parent_id" in rows.columns else {}
    )
    has_learned = [
        state.index for state in run.stage_manifests if has_learned_from(run, state, wanted)
    ]
    stays = {one for one in wanted if parents.get(one) not in wanted}
    files: list[str] = []
    keys: set[str] = set()
    before: StageManifest | None = None
    states = []
    for state in run.stage_manifests:
        gone = _gone_slots(rows, before, wanted)
        lines = {one for one in stays if made_in[one] == state.index}
        new = (
            state
            if state.exported is not None
            else _stage(run, state, wanted, lines, gone, keys, files)
        )
        if state.index in has_learned:
            new.measures = new.measures | {REMOVED: PURGED_MODEL}
        if new.exported is not None and before is not None:
            new = new.model_copy(update={"exported": before.kept})
        new.input_digest = _input_digest(new, before)
        _write_manifest(folder, f"{state.folder}/stage.json", new, files)
        states.append(new)
        before = new if state.exported is None else before
    data = [_data_file(run, entry, wanted, files) for entry in run.manifest.data]
    files += books.without(run, wanted, folder)
    has_own_card = _write_run(run, states, data, folder, files)
    kinds = run.manifest.identity.get("mask") or []
    keys |= {key.hex() for key in keys_told(run.path, kinds)}
    plan = {
        "rows": sorted(wanted),
        "keys": sorted(keys),
        "files": files,
        "own_card": has_own_card,
        "models": (run.path / SCORER).is_dir(),
        "trained": bool(has_learned),
    }
    sync_tree(folder)
    manifest.replace_bytes(folder / "plan.json", json.dumps(plan, indent=1).encode())
    crashpoint("purge_planned")


def _gone_slots(rows: pl.DataFrame, before: StageManifest | None, wanted: set[str]) -> list[int]:
    """The places, among the rows that a stage received, of those that go."""
    if before is None:
        return []
    received = rows.filter((pl.col("stage") == before.index) & (pl.col("half") == "kept"))["row_id"]
    return [at for at, row_id in enumerate(received) if row_id in wanted]


def _stage(
    run: Run,
    state: StageManifest,
    wanted: set[str],
    lines: set[str],
    gone: list[int],
    keys: set[str],
    files: list[str],
) -> StageManifest:
    """A stage without the rows: its new shards are written, its books told anew."""
    parts = []
    for part in state.parts:
        tables = {half: _table(run, state, part, half) for half in HALVES}
        has_any = any(set(table["row_id"].to_pylist()) & wanted for table in tables.values())
        first, after = (
            slot - sum(at < slot for at in gone) for slot in (part.first_slot, part.next_slot)
        )
        moved = part.model_copy(update={"first_slot": first, "next_slot": after})
        if has_any:
            moved = _part(run, state, moved, tables, wanted, lines, keys, files)
        parts.append(moved)
    new = state.model_copy(
        update={"parts": parts, "next_slot": parts[-1].next_slot if parts else state.next_slot}
    )
    if new.kept != state.kept:
        new.measures = _measures(run, new)
    return new


def _measures(run: Run, state: StageManifest) -> dict[str, Any]:
    """What the stage says of the rows that are left, where its code still measures the same."""
    kind = next((kind for kind in STAGES if kind.name == state.stage), None)
    measuring = RowStage | FilterStage | RenderStage | EvaluateStage
    if not isinstance(kind, measuring) or kind.version != state.version:
        return state.measures
    if kind.measure is None:
        return state.measures
    kept = store.read_frame(_shards_now(run, state))
    if isinstance(kind, EvaluateStage):  # of a curve the losses stay: they are no row's own
        return state.measures | kind.measure(kept, kind.config.model_validate(state.settings))
    if isinstance(kind, FilterStage | RenderStage):
        return kind.measure(kept, kind.config.model_validate(state.settings))
    return kind.measure(kept)


def _shards_now(run: Run, state: StageManifest) -> list[Path]:
    """The kept shards of a stage: those that were written anew, else those in their place."""
    names = [path.relative_to(run.path) for path in store.shards(run.path / state.folder, state)]
    new = run.path / FOLDER
    return [new / name if (new / name).is_file() else run.path / name for name in names]


def _table(run: Run, state: StageManifest, part: Part, half: Half) -> pa.Table:
    with store.opened(run.path / state.folder / part.half(half).path) as file:
        return file.read()


def _part(
    run: Run,
    state: StageManifest,
    part: Part,
    tables: dict[Half, pa.Table],
    wanted: set[str],
    lines: set[str],
    keys: set[str],
    files: list[str],
) -> Part:
    rows = {half: table.to_pylist() for half, table in tables.items()}
    for row in (*rows["kept"], *rows["dropped"]):
        if row["row_id"] in wanted:
            keys |= {request["key"] for request in row.get("requests") or ()}
    left = [row for row in rows["kept"] if row["row_id"] not in wanted]
    dropped = [row for row in rows["dropped"] if row["row_id"] not in wanted]
    dropped += [
        {name: row.get(name) for name in KEPT_OF_A_LINE if name in row} | {"drop_reason": PURGED}
        for row in (*rows["kept"], *rows["dropped"])
        if row["row_id"] in lines
    ]
    reasons = Counter(row["drop_reason"] for row in dropped)
    halves: dict[Half, list[Row]] = {"kept": left, "dropped": dropped}
    entries = {}
    for half, its_rows in halves.items():
        table = pa.Table.from_pylist(its_rows, arrow_schema(state.columns_of(half)))
        name = part.half(half).path
        entries[half] = _shard(run, f"{state.folder}/{name}", table, files)
        entries[half].path = name
    return part.model_copy(
        update={
            "candidates": len(left) + len(dropped),
            "kept": entries["kept"],
            "dropped": entries["dropped"],
            "dropped_by_reason": dict(sorted(reasons.items())),
        }
    )


def _shard(run: Run, name: str, table: pa.Table, files: list[str]) -> FileEntry:
    target = run.path / FOLDER / name
    target.parent.mkdir(parents=True, exist_ok=True)
    files.append(name)
    return store.write_shard(table, target, run.path)


def _input_digest(state: StageManifest, before: StageManifest | None) -> str | None:
    """What the stage notes of the shards that it was made from."""
    if state.input_digest is None or before is None:
        return state.input_digest
    return before.kept_so_far() if ":" in state.input_digest else before.kept_digest


def _data_file(run: Run, entry: FileEntry, wanted: set[str], files: list[str]) -> FileEntry:
    with store.opened(run.path / entry.path) as file:
        table = file.read()
    keep = [row_id not in wanted for row_id in table["row_id"].to_pylist()]
    if all(keep):
        return entry
    new = _shard(run, entry.path, table.filter(pa.array(keep)).combine_chunks(), files)
    return new.model_copy(update={"path": entry.path})


def _write_manifest(
    folder: Path, name: str, state: StageManifest | RunManifest, files: list[str]
) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest.replace(path, state)
    files.append(name)


def _write_run(
    run: Run, states: list[StageManifest], data: list[FileEntry], folder: Path, files: list[str]
) -> bool:
    """The card and `run.json` with the new totals; `run.json` is put into place last.

    A card that is not as the run wrote it is its owner's, and left alone: whether there is one.
    """
    texts = dict(run.manifest.texts)
    new = run.manifest.model_copy(update={"data": data, "kept": states[-1].kept, "texts": texts})
    if new.results:
        new.results = [_results(run, states, files)]
        texts[REPORT] = _sha256(folder / REPORT)
    card_there = run.path / CARD
    is_as_written = card_there.is_file() and texts.get(CARD) == _sha256(card_there)
    if is_as_written:
        text = card.render(run.path, new, states, data, _shards_now(run, states[-2]), folder)
        (folder / CARD).parent.mkdir(parents=True, exist_ok=True)
        manifest.replace_bytes(folder / CARD, text.encode())
        files.append(CARD)
        texts[CARD] = _sha256(folder / CARD)
    new.digest = new.digest_of(states)
    _write_manifest(folder, "run.json", new, files)
    return card_there.is_file() and not is_as_written


def _results(run: Run, states: list[StageManifest], files: list[str]) -> FileEntry:
    """What the rows that are left come to, and the report of it."""
    found = results_of(states, lambda state: _shards_now(run, state))
    entry = _shard(run, METRICS, results.table(found), files)
    text = report.render(found, run=run.path.name, kin=run.manifest.judge_family)
    manifest.replace_bytes(run.path / FOLDER / REPORT, text.encode())
    files.append(REPORT)
    return entry.model_copy(update={"path": METRICS})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _carry_out(path: Path, plan: dict[str, Any], epoch: int) -> Purged:
    """Put the new files into their places; what was put there before is passed over."""
    folder = path / FOLDER
    done = Purged(rows=list(plan["rows"]), files=list(plan["files"]))
    done.has_own_card = bool(plan.get("own_card"))
    done.has_lost_models = bool(plan.get("models"))
    done.has_lost_trained = bool(plan.get("trained"))
    journal = path / "journal.sqlite"
    if journal.is_file():
        done.replies = blank(journal, [bytes.fromhex(key) for key in plan["keys"]], epoch)
    crashpoint("purge_blanked")
    for name in plan["files"]:
        if (folder / name).is_file():
            (folder / name).replace(path / name)
            sync_folder((path / name).parent)
            crashpoint("purge_moved")
    if (path / SCORER).is_dir():  # its vocabulary holds words of the row, its weights learned them
        shutil.rmtree(path / SCORER)
        sync_folder(path)
    if done.has_lost_trained and (path / MODEL).is_dir():
        shutil.rmtree(path / MODEL)
        sync_folder(path)
    done.copies = _copies(path)
    (folder / "plan.json").unlink()
    sync_folder(folder)
    shutil.rmtree(folder)
    return done


def _copies(path: Path) -> list[str]:
    """Where else a row of this run may be, as far as the run can tell."""
    run = open_run(path)
    found = [str(one) for one in sorted(path.glob("export.*"))]
    said_by_servers = sorted((path / LOGS).glob("*"))
    found += [f"{one} (what a server said, which may quote)" for one in said_by_servers]
    found += [f"{_near(one.path)} (a run that this one came from)" for one in run.ancestors[1:]]
    said = run.manifest.input or {}
    for source in (sets_of(said) or said).values():
        if not Path(source, "run.json").is_file():
            found.append(f"{_near(Path(source))} (what was taken in)")
    return [
        *found,
        "runs made from this one (--from, --input), and models that were trained on it",
        "sheets that  synth review  wrote, reports, what  synth push  put on the hub",
        "backups, copies of data/, and whatever the teacher's provider keeps",
    ]


def _near(path: Path) -> Path:
    """A path as it is called from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
