"""One asker a model that a run asks: all on the run's one journal and one ledger."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import manifest, store
from pipeline.counted import counted
from pipeline.errors import InterruptedRunError
from pipeline.manifest import StageManifest
from pipeline.run.aside import call_in, unless_told
from pipeline.run.context import Context
from pipeline.run.events import Message
from pipeline.run.prepare import Prepared
from pipeline.run.reuse import is_taken_over
from pipeline.run.roles import Model, asked_roles
from pipeline.signals import Ending
from pipeline.stage import AskingStage, Role
from pipeline.stages.conversations import whole_conversation
from pipeline.teacher.asker import Asker
from pipeline.teacher.buyer import Buyer
from pipeline.teacher.call import Teacher, Unanswered
from pipeline.teacher.ledger import Ledger
from pipeline.teacher.settings import Price

if TYPE_CHECKING:
    from pipeline.train.scorer import Loaded, Texts

OTHER_FILES = 48
"""How many files a run opens beside its connections, and some to spare."""


@asynccontextmanager
async def askers(context: Context) -> AsyncIterator[dict[Role, Asker]]:
    """The askers by role; a judge that is the teacher shares the teacher's."""
    prepared = context.prepared
    models = {role: prepared.models[role] for role in asked_roles(prepared.recipe)}
    settings = prepared.recipe.settings
    free = {
        model.name: Price(input=Decimal(0), output=Decimal(0))
        for model in models.values()
        if model.is_free
    }
    ledger = Ledger(settings.budget, free | settings.prices)
    ledger.load(context.journal.spent())
    found: dict[int, Asker] = {}
    async with AsyncExitStack() as stack:
        for role, model in models.items():
            if id(model) not in found:
                with _reached(role):
                    asker = _asker(context, model, ledger)
                    found[id(model)] = await stack.enter_async_context(asker)
        different = {id(model): role for role, model in reversed(models.items())}
        with _reached(*reversed(different.values())):
            yield {role: found[id(model)] for role, model in models.items()}


@contextlib.contextmanager
def _reached(*roles: Role) -> Iterator[None]:
    """Say who cannot be reached; the reason names the address."""
    try:
        yield
    except Unanswered as error:
        raise InterruptedRunError(
            f"the {' or the '.join(roles)} cannot be reached: {error}. Start the same command "
            "again once that answers."
        ) from error


@asynccontextmanager
async def _asker(context: Context, model: Model, ledger: Ledger) -> AsyncIterator[Asker]:
    teacher = make_teacher(context, model)
    try:
        if not context.prepared.is_replay and has_work(context.prepared, model):
            await unless_told(context.ending, teacher.check())
        buyer = Buyer(
            teacher,
            context.journal,
            ledger,
            model.settings,
            concurrency=_concurrency(context, model),
        )
        _hook(buyer, context.ending)
        hide = context.masking.reply if context.masking else None
        yield Asker(buyer, old=context.old, hide=hide)
    finally:
        await teacher.close()


def has_work(prepared: Prepared, model: Model) -> bool:
    """Whether a stage asks the model that is not taken over from another run as it is.

    One that starts for the run is not wanted by a stage that is complete; where that asks all the
    same, it starts then.
    """
    return any(
        isinstance(step.stage, AskingStage)
        and prepared.model_of(step) is model
        and not is_taken_over(prepared, index)
        and not (model.uri.scheme == "vllm" and _is_complete(prepared, index))
        for index, step in enumerate(prepared.steps)
    )


def _is_complete(prepared: Prepared, index: int) -> bool:
    """Whether an earlier process of the run has been through with a stage."""
    folder = manifest.stage_folder(index, prepared.steps[index].name)
    path = prepared.run / folder / "stage.json"
    return path.is_file() and manifest.read(StageManifest, path).complete


def make_teacher(context: Context, model: Model) -> Teacher:
    """What answers for a model."""
    named, seed = model.uri, context.prepared.recipe.settings.seed
    models = context.prepared.models
    if named.scheme == "offline":
        from pipeline.teacher.offline_teacher import OfflineTeacher

        return OfflineTeacher(seed)
    if named.scheme == "st":
        from pipeline.train.embedder import LocalEmbedder

        return LocalEmbedder(Path(named.folder), named.model)
    if named.scheme == "hf":
        from pipeline.train.scorer import LocalScorer, load_folder

        return LocalScorer(named.model, lambda: load_folder(Path(named.folder)))
    if named.scheme == "tiny":
        from pipeline.train.scorer import LocalScorer, is_trained, load_or_train

        def train() -> list[Loaded]:
            folder = context.run / "scorer" / context.input_digest()[:16]
            if not is_trained(folder):
                rows = counted(context.input_rows(), "row")
                context.listener(Message(f"The tiny model learns from {rows} first."))
            return load_or_train(folder, lambda: _texts(context), seed=seed)

        return LocalScorer(named.model, train)
    is_scorer = any(model is found for role, found in models.items() if role == "scorer")
    server: Teacher
    if named.scheme == "vllm":
        from pipeline.teacher.vllm.vllm_teacher import VLLMTeacher

        assert context.engines is not None
        server = VLLMTeacher(context.engines.of(model), model.settings, writes=not is_scorer)
    else:
        from pipeline.teacher.openai_teacher import OpenAITeacher

        server = OpenAITeacher(named, model.key, model.settings)
    if is_scorer:
        from pipeline.teacher.server_scorer import ServerScorer

        return ServerScorer(server)
    return server


def _texts(context: Context) -> Iterator[Texts]:
    """The texts of all rows that the open stage receives."""
    from pipeline.train.scorer import Texts

    wanted = ("instruction", "input", "output", "messages")
    columns = [name for name in wanted if name in context.input_columns()]
    for row in store.read_rows(context.input_shards(), columns):
        turns = tuple(whole_conversation(row))
        yield Texts(row["instruction"] or "", row["input"] or "", row["output"] or "", turns)


def _concurrency(context: Context, model: Model) -> int:
    """How many requests may be open: as set, as the window is wide, and as files may be open."""
    wanted = model.concurrency
    if model is context.prepared.models["teacher"]:
        wanted = min(wanted, context.prepared.window or wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + OTHER_FILES
    if soft < enough and soft < hard:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= enough:
        return wanted
    fits = max(soft - OTHER_FILES, 1)
    context.listener(
        Message(f"Only {fits} requests at a time: this process may open {soft} files.")
    )
    return fits


def _hook(buyer: Buyer, ending: Ending) -> None:
    """Let a signal stop the buyer: it sends nothing more, and waits for its grace, or not."""
    loop = asyncio.get_running_loop()

    def stop(at_once: bool) -> None:
        grace_s = 0.0 if at_once else ending.grace_s
        call_in(loop, lambda: buyer.stop(ending.reason(), grace_s=grace_s))

    ending.on_signal(stop)
