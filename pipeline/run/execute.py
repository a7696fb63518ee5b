"""Work through a prepared run: lock it, run what is missing stage by stage, write the books."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline import manifest, store
from pipeline.errors import (
    BudgetError,
    InterruptedRunError,
    LockedError,
    StallError,
    StorageError,
    SynthError,
)
from pipeline.manifest import FileEntry, RunManifest, StageManifest
from pipeline.run import card
from pipeline.run.asking import run_row_stage
from pipeline.run.context import Context
from pipeline.run.drafting import STALLED, run_draft_stage
from pipeline.run.events import PROGRESS, Listener, Message
from pipeline.run.folder import check_links
from pipeline.run.importing import run_import_stage
from pipeline.run.judging import run_export_stage, run_filter_stage
from pipeline.run.lock import Lease, locked
from pipeline.run.prepare import Prepared
from pipeline.run.reuse import reuse
from pipeline.run.roles import Asked, wants_judge
from pipeline.stage import (
    NOT_ASKED,
    AskingStage,
    DraftStage,
    FilterStage,
    ImportStage,
    RowStage,
)
from pipeline.teacher.asker import Asker
from pipeline.teacher.call import Teacher, Unanswered
from pipeline.teacher.journal import Journal
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.ledger import Ledger
from pipeline.version import VERSION

OTHER_FILES = 48
"""How many files a run opens beside its connections, and some to spare."""


def execute(prepared: Prepared, listener: Listener) -> RunManifest:
    """Run what is missing and give the run's manifest; a finished run is left untouched.

    Raises `SynthError`; what was made until then stays, and the same command goes on with it.
    """
    if prepared.is_finished:
        assert prepared.existing is not None
        listener(Message(f"{prepared.run} is finished: nothing to do."))
        return prepared.existing
    try:
        manifest.make_folder(prepared.run)
        with locked(prepared.run) as lease:
            check_links(prepared.run)
            store.clear_staging(prepared.run)
            if not prepared.is_replay or prepared.old_run is not None:
                _write_inputs(prepared)
            return asyncio.run(_execute(prepared, listener, lease))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StorageError(
            f"{prepared.run} cannot be written: {error.strerror or error}{where}. Nothing that was "
            "received is lost; start the same command again once there is room."
        ) from error


async def _execute(prepared: Prepared, listener: Listener, lease: Lease) -> RunManifest:
    state = _open_manifest(prepared)
    began = datetime.now(UTC)
    journal = Journal(prepared.run / "journal.sqlite", lease.epoch)
    old = JournalReader(prepared.old_run / "journal.sqlite") if prepared.old_run else None
    context: Context | None = None
    try:
        async with _askers(prepared, journal, old, listener) as (asker, judge):
            context = Context(prepared, journal, asker, listener, lease, judge, old=old)
            with _signals([one for one in (asker, judge) if one is not None]):
                state.data = await _run_stages(context, state)
        await journal.settle()
        is_whole = prepared.until is None and all(
            stage.complete and NOT_ASKED not in stage.dropped_by_reason for stage in context.done
        )
        state.status = "finished" if is_whole else "stopped"
        state.finished = _now()
    except SynthError as error:
        state.status = "stopped"
        if context is not None and isinstance(error, BudgetError | StallError):
            context.stop_short("budget" if isinstance(error, BudgetError) else STALLED)
        raise
    finally:
        with contextlib.suppress(SynthError):  # what failed is written down, if it can be
            await journal.settle()
        if context is not None:
            _note_drift(context, state)
            state.unused_replies = _unused_replies(context)
            state.kept = context.done[-1].kept if context.done else 0
        state.seconds = round(state.seconds + (datetime.now(UTC) - began).total_seconds(), 3)
        state.digest = _digest(state, context.done if context else [])
        journal.close()
        if old is not None:
            old.close()
        _write_manifest(prepared, state, lease)
        (prepared.run / PROGRESS).unlink(missing_ok=True)
    lease.check()
    return state


def _note_drift(context: Context, state: RunManifest) -> None:
    """Say once, and in the manifest, that another model answered than the one that was asked."""
    for asker in (context.asker, context.judge_asker):
        names = asker.answered_as if asker is not None else set()
        if asker is not None and names - set(state.answered_as):
            state.answered_as = sorted({*state.answered_as, *names})
            context.listener(
                Message(f"{asker.teacher.name} was asked; replies name {', '.join(sorted(names))}.")
            )


def _write_manifest(prepared: Prepared, state: RunManifest, lease: Lease) -> None:
    """Replace `run.json`, unless the run is another's by now."""
    for name in ("recipe.yaml", "data/README.md"):
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
        else:
            files = run_export_stage(context, index, step)
            text = card.render(context.prepared, context.done, files)
            manifest.replace_bytes(context.run / "data" / "README.md", text.encode())
        state.stages = [done.folder for done in context.done]
        manifest.replace(context.run / "run.json", state)
        await asyncio.sleep(0)  # a signal that came during a stage without a teacher
    return files


@asynccontextmanager
async def _askers(
    prepared: Prepared, journal: Journal, old: JournalReader | None, listener: Listener
) -> AsyncIterator[tuple[Asker | None, Asker | None]]:
    """Who asks the teacher and who asks the judge, where anybody does; one ledger for both."""
    asking = [step for step in prepared.steps if isinstance(step.stage, AskingStage)]
    to_judge = [step for step in asking if prepared.judge and wants_judge(step.stage)]
    ledger = Ledger(prepared.recipe.settings.budget, prepared.recipe.settings.prices)
    if asking:
        ledger.load(journal.spent())
    found: list[Asker | None] = []
    async with AsyncExitStack() as stack:
        for steps in ([step for step in asking if step not in to_judge], to_judge):
            if not steps:
                found.append(None)
                continue
            asked = prepared.asked_by(steps[0])
            concurrency = _concurrency(prepared, asked, listener)
            teacher = await stack.enter_async_context(_reached(prepared, asked))
            found.append(
                Asker(teacher, journal, ledger, asked.settings, concurrency=concurrency, old=old)
            )
        yield found[0], found[1]


@asynccontextmanager
async def _reached(prepared: Prepared, asked: Asked) -> AsyncIterator[Teacher]:
    """A model that is there, and let go of at the end."""
    teacher = make_teacher(prepared, asked)
    try:
        if not prepared.is_replay:
            await teacher.check()
        yield teacher
    except Unanswered as error:
        raise InterruptedRunError(
            f"{asked.uri.model} cannot be reached: {error}. Start the same command again once it "
            "can."
        ) from error
    finally:
        await teacher.close()


def _concurrency(prepared: Prepared, asked: Asked, listener: Listener) -> int:
    """How many requests may be open: as set, as the window is wide, and as files may be open."""
    wanted = asked.settings.concurrency
    if asked is not prepared.judge:
        wanted = min(wanted, prepared.window or wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + OTHER_FILES
    if soft < enough and soft < hard:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= enough:
        return wanted
    fits = max(soft - OTHER_FILES, 1)
    listener(Message(f"Only {fits} requests at a time: this process may open {soft} files."))
    return fits


def make_teacher(prepared: Prepared, asked: Asked) -> Teacher:
    """The model that is asked."""
    if asked.uri.scheme == "offline":
        from pipeline.teacher.offline_teacher import OfflineTeacher

        return OfflineTeacher(prepared.recipe.settings.seed)
    if asked.uri.scheme == "st":
        from pipeline.train.embedder import LocalEmbedder

        return LocalEmbedder(Path(asked.uri.folder), asked.uri.model)
    from pipeline.teacher.openai_teacher import OpenAITeacher

    return OpenAITeacher(asked.uri, asked.key, asked.settings)


@contextmanager
def _signals(askers: Sequence[Asker]) -> Iterator[None]:
    """SIGTERM, SIGINT, SIGUSR1 and SIGHUP end the run in good order; a second SIGINT at once."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    task = asyncio.current_task()

    def end(number: int) -> None:
        name = signal.Signals(number).name
        seen.append(number)
        reason = InterruptedRunError(f"{name} came: start the same command again to go on.")
        again = seen.count(signal.SIGINT) > 1
        for asker in askers:
            asker.stop(reason, grace_s=0 if again else None)
        if not askers and task is not None:
            task.cancel()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, end, number)
    try:
        yield
        if seen:
            for asker in askers:
                asker.raise_if_stopped()
    except asyncio.CancelledError as error:
        raise InterruptedRunError("the run was told to end; the same command goes on.") from error
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _open_manifest(prepared: Prepared) -> RunManifest:
    old = prepared.existing
    state = RunManifest(
        synth=VERSION,
        recipe=prepared.recipe.settings.name,
        status="running",
        teacher=prepared.teacher.model,
        judge=prepared.judge.uri.model if prepared.judge else None,
        judged_by_teacher=prepared.judged_by_teacher,
        started=old.started if old else _now(),
        seconds=old.seconds if old else 0.0,
        identity=prepared.identity,
        extent=prepared.extent,
        decision=prepared.decision,
        input={"path": str(prepared.source.path.resolve())} if prepared.source else None,
        made_from=_made_from(prepared),
        stages=old.stages if old else [],
        answered_as=old.answered_as if old else [],
    )
    manifest.replace(prepared.run / "run.json", state)
    return state


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


def _digest(state: RunManifest, stages: list[StageManifest]) -> str:
    """One SHA-256 over the names and digests of all data files."""
    lines = [
        f"{stage.folder}/{entry.path} {entry.sha256}"
        for stage in stages
        for part in stage.parts
        for entry in (part.kept, part.dropped)
    ]
    lines += [f"{entry.path} {entry.sha256}" for entry in state.data]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
