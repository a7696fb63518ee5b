"""Work through a prepared run: lock it, run what is missing stage by stage, write the books."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline import manifest, redact, signals, store
from pipeline.durable import make_folder
from pipeline.errors import (
    BrokenStageError,
    BudgetError,
    LockedError,
    StallError,
    StorageError,
    SynthError,
)
from pipeline.format_templates import FOLDER
from pipeline.manifest import Ended, FileEntry, RunManifest
from pipeline.run import card
from pipeline.run.askers import askers
from pipeline.run.asking import run_row_stage
from pipeline.run.context import Context
from pipeline.run.drafting import run_draft_stage
from pipeline.run.engines import Engines
from pipeline.run.evaluated import judge_family
from pipeline.run.evaluating import run_evaluate_stage
from pipeline.run.events import PROGRESS, Listener, Message
from pipeline.run.folder import check_links, not_written
from pipeline.run.importing import run_import_stage
from pipeline.run.judging import run_export_stage, run_filter_stage
from pipeline.run.lock import Lease, locked
from pipeline.run.prepare import Prepared
from pipeline.run.rendering import run_render_stage
from pipeline.run.results import REPORT, write_results
from pipeline.run.reuse import reuse
from pipeline.run.stalling import BROKEN, STALLED
from pipeline.run.telling import learn
from pipeline.run.training import run_train_stage
from pipeline.shortage import shortage
from pipeline.signals import Ending
from pipeline.stage import (
    NOT_ASKED,
    DraftStage,
    EvaluateStage,
    FilterStage,
    ImportStage,
    RenderStage,
    RowStage,
    TrainStage,
)
from pipeline.teacher.journal import Journal
from pipeline.teacher.journal_reader import JournalReader
from pipeline.terminal import shorten
from pipeline.version import VERSION

LONGEST_SAID = 2000
"""Characters of what a run ended with that its manifest keeps."""


def execute(prepared: Prepared, listener: Listener) -> RunManifest:
    """Run what is missing and give the run's manifest; a finished run is left untouched.

    Raises `SynthError`; what was made until then stays, and the same command goes on with it.
    """
    if prepared.is_finished:
        assert prepared.existing is not None
        listener(Message(f"{prepared.run} is finished: nothing to do."))
        return prepared.existing
    try:
        grace_s = prepared.recipe.settings.teacher.grace_s
        with signals.drained(grace_s) as ending, _folder(prepared.run) as lease:
            check_links(prepared.run)
            store.clear_staging(prepared.run)
            if not prepared.is_replay or prepared.old_run is not None:
                _write_inputs(prepared)
            return asyncio.run(_execute(prepared, listener, lease, ending))
    except OSError as error:
        raise not_written(prepared.run, error) from error


@contextmanager
def _folder(run: Path) -> Iterator[Lease]:
    """The run's folder, there and this process's alone."""
    make_folder(run)
    with locked(run) as lease:
        yield lease


async def _execute(
    prepared: Prepared, listener: Listener, lease: Lease, ending: Ending
) -> RunManifest:
    """Work, write the books, and only then end servers: one may take longer than is left."""
    async with AsyncExitStack() as last:
        return await _work(prepared, listener, lease, ending, last)


async def _work(
    prepared: Prepared, listener: Listener, lease: Lease, ending: Ending, last: AsyncExitStack
) -> RunManifest:
    state = _open_manifest(prepared)
    began = datetime.now(UTC)
    reserve = int(prepared.recipe.settings.reserve_mib * 2**20)
    journal = Journal(prepared.run / "journal.sqlite", lease.epoch, reserve)
    old = JournalReader(prepared.old_run / "journal.sqlite") if prepared.old_run else None
    context: Context | None = None
    try:
        context = Context(prepared, journal, listener, lease, ending, old=old)
        context.engines = Engines(context)
        last.push_async_callback(context.engines.close)
        await learn(context)
        async with askers(context) as context.askers:
            state.data = await _run_stages(context, state)
        await journal.settle()
        is_whole = prepared.until is None and all(
            stage.complete and NOT_ASKED not in stage.dropped_by_reason for stage in context.done
        )
        state.status = "finished" if is_whole else "stopped"
        state.finished = _now()
    except SynthError as error:
        prepared.masking.error(error)
        if context is not None and isinstance(error, BudgetError | StallError):
            context.stop_short(_why_short(error))
        raise
    finally:
        _note_ending(prepared, state, sys.exc_info()[1])
        with contextlib.suppress(SynthError):  # what failed is written down, if it can be
            await journal.settle()
        if context is not None:
            _note_drift(context, state)
            state.unused_replies = _unused_replies(context)
            state.kept = context.done[-1].kept if context.done else 0
        state.seconds = round(state.seconds + (datetime.now(UTC) - began).total_seconds(), 3)
        state.digest = state.digest_of(context.done if context else [])
        journal.close()
        if old is not None:
            old.close()
        _write_manifest(prepared, state, lease)
        (prepared.run / PROGRESS).unlink(missing_ok=True)
    lease.check()
    return state


def _why_short(error: BudgetError | StallError) -> str:
    """What the books of the open stage say of its end."""
    if isinstance(error, BudgetError):
        return "budget"
    return BROKEN if isinstance(error, BrokenStageError) else STALLED


def _note_ending(prepared: Prepared, state: RunManifest, error: BaseException | None) -> None:
    """Say in the manifest why a run goes no further; where it is killed nobody can."""
    if not isinstance(error, Exception):
        return
    if isinstance(error, OSError):
        error = not_written(prepared.run, error)
    code = error.exit_code if isinstance(error, SynthError) else SynthError.exit_code
    if code == SynthError.exit_code and shortage(error) is not None:
        code = StorageError.exit_code
    said = redact.text(prepared.masking.text(str(error)) or type(error).__name__)
    state.status = "stopped"
    state.ended = Ended(exit_code=code, message=shorten(said, LONGEST_SAID))


def _note_drift(context: Context, state: RunManifest) -> None:
    """Say once, and in the manifest, that another model answered than the one that was asked."""
    for asker in context.all_askers():
        if asker.buyer.answered_as - set(state.answered_as):
            now = {context.masking.text(name) for name in asker.buyer.answered_as}
            state.answered_as = sorted({*state.answered_as, *now})
            names = ", ".join(sorted(now))
            context.listener(Message(f"{asker.teacher.name} was asked; replies name {names}."))


def _write_manifest(prepared: Prepared, state: RunManifest, lease: Lease) -> None:
    """Replace `run.json`, unless the run is another's by now."""
    for name in ("recipe.yaml", "data/README.md", REPORT):
        if (path := prepared.run / name).is_file():
            state.texts[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    with contextlib.suppress(LockedError):
        lease.check()
        manifest.replace(prepared.run / "run.json", state)


async def _run_stages(context: Context, state: RunManifest) -> list[FileEntry]:
    files: list[FileEntry] = []
    for index, step in enumerate(context.prepared.steps):
        await reuse(context, index)
        if isinstance(step.stage, DraftStage):
            await run_draft_stage(context, index, step)
        elif isinstance(step.stage, RowStage):
            await run_row_stage(context, index, step)
        elif isinstance(step.stage, ImportStage):
            run_import_stage(context, index, step)
        elif isinstance(step.stage, FilterStage):
            run_filter_stage(context, index, step)
        elif isinstance(step.stage, RenderStage):
            run_render_stage(context, index, step)
        elif isinstance(step.stage, TrainStage):
            run_train_stage(context, index, step)
        elif isinstance(step.stage, EvaluateStage):
            await run_evaluate_stage(context, index, step)
        else:
            files = run_export_stage(context, index, step)
            text = card.render(context.run, state, context.done, files)
            manifest.replace_bytes(context.run / "data" / "README.md", text.encode())
        state.stages = [done.folder for done in context.done]
        state.results = write_results(context, state.judge_family)
        manifest.replace(context.run / "run.json", state)
        if context.engines is not None:
            await context.engines.release(index)
    return files


def _open_manifest(prepared: Prepared) -> RunManifest:
    old = prepared.existing
    state = RunManifest(
        synth=VERSION,
        recipe=prepared.recipe.settings.name,
        status="running",
        teacher=prepared.teacher.model,
        judge=prepared.judge.uri.model if prepared.judge else None,
        judged_by_teacher=prepared.judged_by_teacher,
        judge_family=judge_family(
            prepared.recipe, prepared.models, prepared.evaluated | prepared.bases
        ),
        started=old.started if old else _now(),
        seconds=old.seconds if old else 0.0,
        identity=prepared.identity,
        extent=prepared.extent,
        decision=prepared.decision,
        input=_input(prepared),
        made_from=_made_from(prepared),
        stages=old.stages if old else [],
        answered_as=old.answered_as if old else [],
    )
    manifest.replace(prepared.run / "run.json", state)
    return state


def _input(prepared: Prepared) -> dict[str, str] | None:
    return None if prepared.source is None else prepared.source.places


def _made_from(prepared: Prepared) -> str | None:
    if prepared.old_run is not None:
        return str(prepared.old_run.resolve())
    return prepared.existing.made_from if prepared.existing else None


def _write_inputs(prepared: Prepared) -> None:
    """Keep what the run was made with, so that it can be repeated from its own folder."""
    inputs = prepared.run / "inputs"
    inputs.mkdir(exist_ok=True)
    for name, template in prepared.templates.items():
        manifest.replace_bytes(inputs / f"{name}.md", template.text.encode())
    for name, file in prepared.formats.items():
        (inputs / FOLDER).mkdir(exist_ok=True)
        manifest.replace_bytes(inputs / FOLDER / f"{name}.md", file.text.encode())
    if prepared.seeds is not None:
        manifest.replace_bytes(inputs / "seeds.jsonl", prepared.seeds.content)
    manifest.replace_bytes(prepared.run / "recipe.yaml", prepared.recipe.to_yaml().encode())


def _unused_replies(context: Context) -> int:
    """Replies to slots after the one that reached the target: paid, kept, in no shard."""
    return sum(
        context.journal.replies_from(state.name, state.next_slot)
        for state in context.done
        if state.usage
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
