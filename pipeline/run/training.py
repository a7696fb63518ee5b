"""Run a stage that trains a model: in a process of its own, which a signal ends at once.

What a row comes to is known before the first step, and published once the model is there; a
training that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import errors, manifest, redact, store
from pipeline.durable import sync_tree
from pipeline.errors import InterruptedRunError, SynthError
from pipeline.model_files import DIGEST, MODEL, write_list
from pipeline.recipe import Step
from pipeline.run import model_card
from pipeline.run.base_named import name_base
from pipeline.run.context import Context
from pipeline.run.engines import LOGS
from pipeline.run.events import Message
from pipeline.run.judging import open_computed, publish_verdicts
from pipeline.run.roles import Model
from pipeline.schema import MESSAGE
from pipeline.signals import Ending
from pipeline.stage import Row, TrainStage, columns_read
from pipeline.store import StageFolder
from pipeline.terminal import safe
from pipeline.train import sft_child
from pipeline.train.settings import Config

CHILD = "pipeline.train.sft_child"
BATCH = 2048
ROWS = pa.schema(
    [
        *(("turns", pa.list_(MESSAGE)), ("held_out", pa.bool_()), ("curriculum", pa.float64())),
        *(("copies", pa.int64()), ("phases", pa.list_(pa.int32()))),
    ]
)
LOOK_EVERY_S = 0.1
LAST = 12
"""Lines of what the process said on stderr that an error shows."""


def run_train_stage(context: Context, index: int, step: Step) -> None:
    """Train on all rows of the stage before, and split them."""
    assert isinstance(step.stage, TrainStage)
    assert isinstance(step.config, Config)
    folder = open_computed(context, index, step)
    total = context.input_rows()
    if folder.state.complete:
        context.done.append(folder.state)
        return
    out = _model_folder(context, folder)
    staging = context.run / ".staging" / "train"
    staging.mkdir(parents=True, exist_ok=True)
    write_rows(context, step, staging / "rows.parquet")
    heard = _Heard()
    for said in _said(context, step, staging / "rows.parquet", out):
        heard.take(said)
        if "said" in said:
            context.listener(Message(f"{step.name}: {said['said']}"))
        elif "step" in said:
            context.tell(folder, said["steps"], said["step"], of="steps")
    folder.state.measures = heard.measures
    _write_cards(context, step, folder, heard.used, out)
    passing = (sft_child.JOB, sft_child.OUTCOME)
    digest = write_list(out, without=passing)
    sync_tree(out)
    folder.state.measures |= {DIGEST: digest}
    held_out = pq.read_table(staging / "rows.parquet", columns=["held_out"])["held_out"]
    frame = _frame(heard.verdicts, held_out.to_pylist())
    publish_verdicts(context, step, folder, frame, step.stage.writes)
    context.seal(folder, total, total)
    for name in passing:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(staging)  # the rows once more, in a place that a purge does not look into


@dataclass(slots=True)
class _Heard:
    """What a training has said: what becomes of each row, what was used, and what came out."""

    verdicts: list[Any] = field(default_factory=list)
    used: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)

    def take(self, said: dict[str, Any]) -> None:
        """Keep what is wanted at the end."""
        self.verdicts = said.get("verdicts", self.verdicts)
        self.used = said.get("used", self.used)
        self.measures = said.get("done", self.measures)


def _model_folder(context: Context, folder: StageFolder) -> Path:
    """Where the model comes out; anew where what is there is of other rows or other settings."""
    out = context.run / MODEL
    made_of = out / "made_of"
    wanted = f"{folder.state.fingerprint} {folder.state.input_digest}"
    if out.exists() and (not made_of.is_file() or made_of.read_text(encoding="utf-8") != wanted):
        shutil.rmtree(out)
    out.mkdir(exist_ok=True)
    made_of.write_text(wanted, encoding="utf-8")
    return out


def _said(context: Context, step: Step, rows: Path, out: Path) -> Iterable[dict[str, Any]]:
    """What the training says, or has said, where it ended before that was written down."""
    assert isinstance(step.config, Config)
    base = context.prepared.bases.get(step.name)
    given = {
        "base": _folder_of(base),
        "named": base.uri.place if base is not None else None,
        "rows": str(rows),
        "out": str(out.resolve()),
        "config": given_config(step.config),
        "seed": context.prepared.recipe.settings.seed,
        "keys": redact.remembered(),
    }
    outcome = out / sft_child.OUTCOME
    if outcome.is_file():
        found: list[dict[str, Any]] = json.loads(outcome.read_text(encoding="utf-8"))
        return found
    if step.config.distributed is not None and step.config.distributed.by_hand:
        raise _to_be_started(step, given)
    return said_by(CHILD, given, context.run / LOGS / f"{step.name}.log", context.ending)


def _write_cards(
    context: Context, step: Step, folder: StageFolder, used: dict[str, Any], out: Path
) -> None:
    """The card of the model, in its folder and in each that somebody may carry away."""
    assert isinstance(step.config, Config)
    base = context.prepared.bases.get(step.name)
    card = model_card.render(
        step.config,
        base,
        folder.state.measures,
        used=used,
        run=context.run.name,
        rows=str(folder.state.input_digest),
    )
    name_base(out / "adapter", base)
    manifest.replace_bytes(out / "README.md", card.encode())
    for name in ("adapter", "full", "merged"):  # where PEFT leaves a form that nobody has filled in
        if (out / name).is_dir():
            (out / name / "README.md").write_text(card, encoding="utf-8")


def _frame(verdicts: list[Any], held_out: list[bool]) -> pl.DataFrame:
    """The verdicts of all rows as columns."""
    return pl.DataFrame(
        {
            "reason": [one[0] for one in verdicts],
            "detail": [one[1] for one in verdicts],
            "ref": [None] * len(verdicts),
            "tokens": [one[2] for one in verdicts],
            "learned_tokens": [one[3] for one in verdicts],
            "held_out": held_out,
        },
        {"reason": pl.String, "detail": pl.String, "ref": pl.String, "tokens": pl.Int64,
         "learned_tokens": pl.Int64, "held_out": pl.Boolean},
    )  # fmt: skip


def given_config(config: Config) -> dict[str, Any]:
    """The settings as a process takes them, which may be started in another folder."""
    found = config.model_dump(mode="json")
    if config.plain is not None:
        found["plain"]["file"] = str(Path(config.plain.file).resolve())
    return found


def _to_be_started(step: Step, given: dict[str, Any]) -> InterruptedRunError:
    """What is said where somebody else starts the processes."""
    assert isinstance(step.config, Config)
    given.pop("keys")
    given["rows"] = str(Path(given["rows"]).resolve())
    job = sft_child.write(given)
    launch = " ".join(["accelerate launch", *sft_child.command(job, step.config.processes)])
    return InterruptedRunError(
        f"{step.name} is ready to be trained by hand:\n  {launch}\n"
        "Then start the same command again."
    )


def _folder_of(base: Model | None) -> str | None:
    return None if base is None else str(Path(base.uri.folder).resolve())


def write_rows(context: Context, step: Step, path: Path) -> None:
    """One row of the stage before after the other, as it is learned."""
    assert isinstance(step.stage, TrainStage)
    seed = context.prepared.recipe.settings.seed
    there = context.input_columns()
    assert isinstance(step.config, Config)
    by = "curriculum" if step.config.curriculum is None else step.config.curriculum.by
    reads = columns_read(step.stage, step.config)
    columns = (
        *reads,
        *(name for name in step.stage.may_read if name in there and name not in reads),
    )
    with pq.ParquetWriter(path, ROWS) as writer:
        for rows in _batched(store.read_rows(context.input_shards(), columns)):
            context.ending.check()
            found = [
                {
                    "turns": step.stage.turns(row),
                    "held_out": step.stage.is_held_out(row, step.config, seed),
                    "curriculum": row.get(by),
                    "copies": row.get("copies"),
                    "phases": step.stage.phases(row, step.config),
                }
                for row in rows
            ]
            writer.write_table(pa.Table.from_pylist(found, ROWS))


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def said_by(
    module: str, given: dict[str, Any], log: Path, ending: Ending
) -> Iterator[dict[str, Any]]:
    """What a process of a module says, one thing after the other, until it has ended well.

    Raises the error that it ended with, and `InterruptedRunError` once a signal has come.
    """
    log.parent.mkdir(exist_ok=True)
    places = [str(Path(errors.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            encoding="utf-8",
            errors="replace",  # a launcher of other libraries' prints there too
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead: its exit code says so
        child.stdin.write(json.dumps(given))
        child.stdin.close()
    heard: SimpleQueue[str | None] = SimpleQueue()
    listening = threading.Thread(target=_listen, args=(child, heard), daemon=True)
    listening.start()
    try:
        while True:
            ending.check()
            try:
                line = heard.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            if line is None:
                break
            if not line.startswith("{"):
                continue  # what a launcher prints
            said: dict[str, Any] = json.loads(line)
            if "error" in said:
                kind: type[SynthError] = getattr(errors, said["error"])
                raise kind(said["text"])
            yield said
        if child.wait() != 0:
            raise _fallen(child.returncode, log)
    finally:
        child.kill()
        child.wait()
        listening.join()  # at the end of what was said


def _listen(child: subprocess.Popen[str], heard: SimpleQueue[str | None]) -> None:
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            heard.put(line)
    heard.put(None)


def _fallen(code: int, log: Path) -> SynthError:
    """What is said of a process that ended in a way of its own."""
    told = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST:]
    said = "".join(f"\n  {safe(redact.text(line), keep_lines=False)}" for line in told)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        how += ", as the system does where memory runs out"
    return SynthError(
        f"the process that works on a model ended with {how}. It said last:{said}\n"
        f"All that it said is in {log}."
    )
