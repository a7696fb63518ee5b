"""What the stages of one run share while it works."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import manifest, store
from pipeline.errors import DamagedError
from pipeline.manifest import StageManifest, Tokens
from pipeline.recipe import Step
from pipeline.run.calling import call_of
from pipeline.run.events import Listener, Progress, note
from pipeline.run.lock import Lease
from pipeline.run.prepare import Prepared
from pipeline.schema import DROP_COLUMNS
from pipeline.signals import Ending
from pipeline.stage import (
    OPERATIONAL,
    AskingStage,
    ChainStage,
    ImportStage,
    Request,
    Role,
    role_of,
)
from pipeline.store import StageFolder
from pipeline.teacher.asker import Asker, Settled
from pipeline.teacher.call import Call
from pipeline.teacher.journal import Journal
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.ledger import Spend
from pipeline.teacher.settings import Price
from pipeline.usage import priced

if TYPE_CHECKING:
    from pipeline.run.engines import Engines

TELL_EVERY_S = 0.5
NOTE_EVERY_S = 1.0


@dataclass
class Context:
    """One run at work: what was prepared, its journal, whom to ask, whom to tell."""

    prepared: Prepared
    journal: Journal
    listener: Listener
    lease: Lease
    ending: Ending
    old: JournalReader | None = None
    askers: dict[Role, Asker] = field(default_factory=dict)
    engines: Engines | None = None
    done: list[StageManifest] = field(default_factory=list)
    current: StageFolder | None = None
    _told: float = 0.0
    _noted: float = 0.0
    _stage_began: float = 0.0
    _seconds_before: float = 0.0

    def __post_init__(self) -> None:
        """Nothing is told that the recipe has masked."""
        self.masking = self.prepared.masking
        self.listener = self.masking.listener(self.listener)

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.prepared.run

    def input_shards(self) -> list[Path]:
        """The kept shards of the stage before."""
        return store.shards(self.run / self.done[-1].folder, self.done[-1])

    def input_columns(self) -> tuple[str, ...]:
        """The columns of the rows that the stage before kept."""
        return tuple(self.done[-1].columns)

    def input_rows(self) -> int:
        """How many rows the stage before kept."""
        return self.done[-1].kept

    def input_digest(self) -> str:
        """What stands for the content of the stage before."""
        return self.done[-1].kept_digest

    def input_so_far(self, parts: int | None = None) -> str:
        """What stands for the first parts of the stage before, or for all (`kept_so_far`)."""
        return self.done[-1].kept_so_far(parts)

    def open_stage(self, index: int, step: Step) -> StageFolder:
        """The stage's folder as an earlier process left it, or a new one."""
        self.ending.check()
        path = self.run / manifest.stage_folder(index, step.name) / "stage.json"
        if path.is_file():
            state = manifest.read(StageManifest, path)
            used = max((part.journal for part in state.parts), default=0)
            if used > self.journal.last:
                raise DamagedError(
                    f"{path.parent} was made with record {used} of the journal, and that ends at "
                    f"{self.journal.last}: replies that were received are lost."
                )
        else:
            state = StageManifest(
                name=step.name,
                stage=step.stage.name,
                index=index,
                version=step.stage.version,
                fingerprint="",
                columns=self.prepared.columns[index],
                drop_columns=DROP_COLUMNS,
                settings={},
            )
        if not state.parts:
            state.columns = self.prepared.columns[index]
        settings = step.config.model_dump(mode="json")
        has_longer_rows = isinstance(step.stage, ChainStage) and (
            _of_rows(step, state.settings) != _of_rows(step, settings)
        )
        state.fingerprint = self.prepared.fingerprints[index]
        state.settings = settings
        folder = StageFolder(
            self.run, state, self.prepared.recipe.settings.shard_rows, fence=self.lease.check
        )
        folder.reopen()
        if state.parts and has_longer_rows:  # an extent was raised: every conversation goes on
            folder.begin_anew()
        folder.create()
        if self.prepared.is_replay and not isinstance(step.stage, ImportStage):
            folder.begin_anew()
        self.current = folder
        self._stage_began = time.monotonic()
        self._seconds_before = state.seconds
        self._told = 0.0
        return folder

    def asker_of(self, step: Step) -> Asker:
        """Who asks for a step."""
        assert isinstance(step.stage, AskingStage)
        return self.askers[role_of(step.stage)]

    def call(self, step: Step, slot: int, request: Request) -> Call:
        """A call for a slot of a stage that asks, numbered in slot order."""
        return self.asker_of(step).number(self._call(step, slot, request))

    def call_of_row(
        self, step: Step, slot: int, request: Request, row_id: str, seen: Counter[bytes]
    ) -> Call:
        """A call of the conversation about a row, numbered among those of it (`seen`) alone."""
        call = self._call(step, slot, request)
        seen[call.content] += 1
        return dataclasses.replace(call, row=row_id, sample=seen[call.content] - 1)

    def _call(self, step: Step, slot: int, request: Request) -> Call:
        return call_of(self.prepared, step, slot, request, self.input_digest)

    def request_column(self, step: Step, template: str, settled: Settled) -> dict[str, str]:
        """What a row's `requests` says of one request."""
        return {
            "stage": step.name,
            "key": settled.key.hex(),
            "template": self.prepared.templates[template].label if template else "",
            "model": settled.model,
        }

    def tell(
        self,
        folder: StageFolder,
        total: int | None,
        done: int,
        *,
        of: str = "",
        now: bool = False,
    ) -> None:
        """Say how far a stage is, at most twice a second unless `now`.

        `of` is what is counted where that is not rows.

        Called at every step of every stage, so here a signal ends those that wait for nobody.
        """
        if not now:
            self.ending.check()
        if not now and time.monotonic() - self._told < TELL_EVERY_S:
            return
        self._told = time.monotonic()
        name = folder.state.name
        bought = sum((asker.buyer.bought for asker in self.all_askers()), Counter[str]())
        spend = Spend(bought[f"{name}.input_tokens"], bought[f"{name}.output_tokens"])
        price = self._price(name)
        progress = Progress(
            stage=name,
            done=done,
            total=total,
            kept=folder.kept,
            dropped=dict(folder.dropped_by_reason().most_common()),
            tokens=spend.tokens,
            requests=bought[f"{name}.requests"],
            cost_usd=str(spend.usd(price)) if price is not None and spend.tokens else None,
            seconds=time.monotonic() - self._stage_began,
            **self._load(name),
            state="done" if folder.state.complete else "running",
            of=of,
        )
        self.listener(progress)
        if now or self._told - self._noted >= NOTE_EVERY_S:
            self._noted = self._told
            note(self.run, progress)

    def _load(self, step_name: str) -> dict[str, Any]:
        """How busy the server is that a step asks, where it is the run's own and says so."""
        step = self.prepared.recipe.step(step_name)
        if self.engines is None or not isinstance(step.stage, AskingStage):
            return {}
        load = self.engines.load_of(self.prepared.model_of(step))
        return {} if load is None else dataclasses.asdict(load)

    def all_askers(self) -> list[Asker]:
        """Each once."""
        return list(dict.fromkeys(self.askers.values()))  # a judge can be the teacher

    def _price(self, step_name: str) -> Price | None:
        step = self.prepared.recipe.step(step_name)
        if not isinstance(step.stage, AskingStage):
            return None
        return self.prepared.recipe.settings.prices.get(self.prepared.model_of(step).name)

    def _usage(self, folder: StageFolder) -> list[Tokens]:
        prices = self.prepared.recipe.settings.prices
        return priced(self.journal.usage(folder.state.name), prices)

    def stop_short(self, why: str) -> None:
        """Publish what the open stage has so far and say why it ends there."""
        if self.current is not None and not self.current.state.complete:
            self.current.stop(why, journal=self.journal.committed)

    def seal(self, folder: StageFolder, total: int | None, done: int) -> None:
        """Publish what is left of a stage, write its books, and go on."""
        folder.state.usage = self._usage(folder)
        took = time.monotonic() - self._stage_began
        folder.state.seconds = round(self._seconds_before + took, 3)
        folder.seal(journal=self.journal.committed)
        self.tell(folder, total, done, now=True)
        self.done.append(folder.state)


def _of_rows(step: Step, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that rows depend on."""
    fields = type(step.config).model_fields
    is_no_matter = {name for name, info in fields.items() if OPERATIONAL in info.metadata}
    return {name: value for name, value in settings.items() if name not in is_no_matter}
