"""Run a stage that feeds on its own output, at full speed and reproducibly.

Requests are numbered. Request (slot) i is drawn, by a random stream of its own, from the pool as it
stood once slot i - W was committed; replies are committed strictly in order. Up to W requests are
open, no round waits for its slowest, and the pool is the same for any timing, any number of kills
and any concurrency.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from random import Random

from filters.novelty import Nearest
from pipeline import store
from pipeline.errors import StallError
from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.events import Message
from pipeline.run.guard import Guard
from pipeline.run.pool_index import PoolIndex
from pipeline.run.stalling import REPLIES, STALLED, RecentReplies, is_no_teacher, what_to_try
from pipeline.run.window import Window
from pipeline.seed_tasks import SeedTask, TaskPool
from pipeline.stage import DraftStage, Drop, Row
from pipeline.stages.drafts import DraftConfig
from pipeline.store import StageFolder
from pipeline.teacher.asker import Settled
from pipeline.teacher.call import Call
from pipeline.teacher.ledger import Bought, Spend

Open = tuple[Call, "Settled | asyncio.Task[Settled]"]


class NotRecordedError(Exception):
    """The journal holds no reply to a slot: a replay ends before it."""


class Drafting:
    """The state of the loop: the pool, the index of what is in it, and the open slots."""

    def __init__(self, context: Context, index: int, step: Step, seeds: Sequence[SeedTask]) -> None:
        """Take the pool up where the published shards end."""
        assert isinstance(step.stage, DraftStage)
        assert isinstance(step.config, DraftConfig)
        assert step.config.window is not None
        self.context = context
        self.asker = context.asker_of(step)
        self.step = step
        self.stage = step.stage
        self.config = step.config
        self.window = step.config.window
        self.folder: StageFolder = context.open_stage(index, step)
        self.guard = Guard(step.name)
        self.pool = TaskPool(seeds)
        self.ids = [seed.id for seed in seeds]
        self.pool_index = PoolIndex(self.folder, step.config, [seed.instruction for seed in seeds])
        self._restore(seeds)
        ledger = self.asker.buyer.ledger
        model = self.asker.teacher.name
        self.has_budget = ledger.budget.is_capped
        self.recent = RecentReplies(step.config, lambda bought: ledger.share(model, bought))
        self._look_back()

    def _restore(self, seeds: Sequence[SeedTask]) -> None:
        shards = store.shards(self.folder.path, self.folder.state)
        kept = list(store.read_rows(shards, ("row_id", "instruction")))
        for row in kept:
            self.pool.add(row["row_id"], row["instruction"], _slot_of(row["row_id"]))
            self.ids.append(row["row_id"])
        texts = [seed.instruction for seed in seeds] + [row["instruction"] for row in kept]
        self.index = self.pool_index.restore(texts)

    def _look_back(self) -> None:
        """Take the last published slots into `recent`, as the process that made them had them."""
        n = max(REPLIES, self.config.stall_after or 0)
        end, next_unkept = self.folder.next_slot, self.pool.last_slot + 1
        begin = max(end - n, 0)
        if next_unkept < begin:
            self.recent.since_kept = begin - next_unkept
            self.recent.bought_since_kept = self._bought(next_unkept, begin)
        slots: dict[int, tuple[list[Row], list[Row]]] = {
            slot: ([], []) for slot in range(begin, end)
        }
        columns = ("row_id", "instruction")
        parts = [part for part in self.folder.state.parts if part.next_slot > begin]
        for at, half in enumerate(("kept", "dropped")):
            paths = [self.folder.path / getattr(part, half).path for part in parts]
            more = ("drop_reason",) if at else ()
            for row in store.read_rows(paths, (*columns, *more)):
                if (slot := _slot_of(row["row_id"])) in slots:
                    slots[slot][at].append(row)
        for slot, (kept, dropped) in slots.items():
            found = self.asker.recorded(self.step.name, slot, self._endpoint())
            self._note(slot, kept, dropped, f"{slot}" if found is None else _text(found[1]))

    def _note(self, slot: int, kept: list[Row], dropped: list[Row], text: str) -> None:
        self.recent.add(
            len(kept),
            [row["drop_reason"] for row in dropped],
            is_barren=not any(row.get("instruction") for row in (*kept, *dropped)),
            text=text,
            bought=self._bought(slot, slot + 1) if self.has_budget and not kept else None,
        )

    def _bought(self, first: int, end: int) -> Bought:
        requests, n_in, n_out = self.context.journal.bought(self.step.name, first, end)
        return Bought(requests, Spend(n_in, n_out))

    def _endpoint(self) -> str:
        return self.context.prepared.model_of(self.step).settings.endpoint

    def draw(self, slot: int) -> Open:
        """Take a slot as it was recorded and settled; else draw its request, and start to ask.

        What is recorded is what would be drawn, but where a repair has lost an earlier reply. A
        replay raises `NotRecordedError` where nothing is.
        """
        found = self.asker.recorded(self.step.name, slot, self._endpoint())
        if found is not None:
            return found
        if self.context.prepared.is_replay:
            raise NotRecordedError
        n_drafts = self.pool.drafts_at(slot - self.window)
        rng = Random(f"{self.context.prepared.recipe.settings.seed}:{self.step.name}:{slot}")
        request = self.stage.ask(self.pool, n_drafts, self.config, rng)
        call = self.context.call(self.step, slot, request)
        known = self.asker.settled(call)
        return call, known or asyncio.create_task(self.asker.ask(call))

    async def run(self) -> None:
        """Draw, commit, draw again, until the target is reached."""
        target = self.config.target
        first = self.folder.next_slot
        drawn = (
            self.draw(slot)
            for slot in itertools.takewhile(
                lambda _: self.folder.kept < target, itertools.count(first)
            )
        )
        ahead = 1 if self.context.prepared.is_replay else self.window
        try:
            async with Window(drawn, ahead, self.asker) as window:
                async for call, settled in window:
                    self.commit(call, settled)
                    self.context.tell(self.folder, target, min(self.folder.kept, target))
                    self.check_stall()
                    if self.folder.kept >= target:
                        break
        except NotRecordedError:
            self.context.stop_short("replayed")
            self.context.done.append(self.folder.state)
            return
        self.context.seal(self.folder, target, target)

    def commit(self, call: Call, settled: Settled) -> None:
        """Judge a slot's items in order and add what is new to the pool."""
        entries: list[Row | Drop]
        if settled.reply is None:
            entries = [Drop(settled.outcome, settled.detail)]
        else:
            reply = settled.reply
            read = self.guard.call("error_read", lambda: self.stage.read(reply, self.config))
            entries = [read] if isinstance(read, Drop) else read
            entries = entries or [Drop("no_item", reply.text[:200])]
        texts = [entry["instruction"] for entry in entries if not isinstance(entry, Drop)]
        verdicts = iter(self.stage.judge(texts, self.config))
        kept: list[Row] = []
        dropped: list[Row] = []
        shared: Row = {
            "origin": "teacher",
            "teacher": settled.model,
            "shown": list(call.shown),
            "requests": [self.context.request_column(self.step, call.template, settled)],
        }
        for number, entry in enumerate(entries):
            row_id = f"{self.step.name}-{call.slot:06d}-{number:02d}"
            given = entry.row if isinstance(entry, Drop) else entry
            drop = entry if isinstance(entry, Drop) else next(verdicts)
            row = shared | {"row_id": row_id, "root_id": row_id} | given
            row = self.context.masking.marked(row)
            nearest, drop = self._compare(given.get("instruction"), drop)
            if nearest is not None:
                row["nearest_id"] = self.ids[nearest.entry]
                row["nearest_score"] = nearest.f
            if drop is None:
                self.pool.add(row_id, row["instruction"], call.slot)
                self.ids.append(row_id)
                kept.append(row)
            else:
                met = row.get("nearest_id") if drop.reason == "not_novel" else None
                dropped.append(row | drop.columns(met))
        self._note(call.slot, kept, dropped, _text(settled))
        self.folder.add(kept, dropped, journal=self.context.journal.committed)
        self.pool_index.keep(self.index)

    def _compare(
        self, instruction: str | None, drop: Drop | None
    ) -> tuple[Nearest | None, Drop | None]:
        """The nearest pool member of any item, and a drop where an item is not new."""
        if instruction is None:
            return None, drop
        if drop is not None:
            return self.index.nearest(instruction), drop
        verdict = self.index.filter([instruction])
        nearest = verdict.nearest(0)
        if verdict.accepted[0] or nearest is None:
            return nearest, None
        detail = (
            f"ROUGE-L {nearest.f:.4f}: {nearest.lcs} tokens in common of {nearest.n_tokens} "
            f"and {nearest.entry_tokens}"
        )
        return nearest, Drop("not_novel", detail, similarity=nearest.f)

    def check_stall(self) -> None:
        """Raise `StallError` where hardly anything new comes any more; what was made is valid."""
        sign = None if self.context.prepared.may_stall else self.recent.sign()
        if sign is None:
            return
        show = f"synth show {self.context.run} {self.step.name} --dropped"
        raise StallError(
            f"{self.step.name} {self.recent.said(sign)}, and has {self.folder.kept} of "
            f"{self.config.target} rows; most items were dropped as {self.recent.reasons()}. "
            f"{self.recent.suggestion(show, sign)}"
        )

    def raise_if_still_stalled(self) -> None:
        """Raise `StallError` at once where the stage ended so before: more would be the same."""
        is_allowed = self.config.stall_after is None or self.context.prepared.may_stall
        if self.folder.state.stopped == STALLED and not is_allowed:
            show = f"synth show {self.context.run} {self.step.name} --dropped"
            dropped = Counter[str]()
            for part in self.folder.published:
                dropped.update(part.dropped_by_reason)
            raise StallError(
                f"{self.step.name} stalled at {self.folder.kept} of {self.config.target} before; "
                "nothing was asked now. "
                + (
                    what_to_try(dropped, show)
                    if is_no_teacher(dropped)
                    else f"Go on with --no-stall-stop, or read  {show}  and begin a new run."
                )
            )


def _slot_of(row_id: str) -> int:
    return int(row_id.split("-")[-2])


def _text(settled: Settled) -> str:
    """What came for a slot: the reply, or the name of what came in its place."""
    return settled.outcome if settled.reply is None else settled.reply.text


async def run_draft_stage(context: Context, index: int, step: Step) -> None:
    """Run the stage at `index` to its target."""
    seeds = context.prepared.seeds
    assert seeds is not None
    drafting = Drafting(context, index, step, seeds.tasks)
    if drafting.folder.kept < drafting.config.target:
        drafting.raise_if_still_stalled()
        drafting.folder.state.complete = False
        drafting.folder.state.stopped = None
    elif drafting.folder.state.complete:
        context.done.append(drafting.folder.state)
        return
    if drafting.folder.kept:
        context.listener(Message(f"{step.name}: {drafting.folder.kept} rows are there already."))
    await drafting.run()
