"""What a run would ask in requests, tokens and money, measured on real prompts; nothing is sent."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from statistics import mean
from typing import Any

from pipeline import store
from pipeline.inspect import Run, open_run
from pipeline.manifest import StageManifest
from pipeline.recipe import Step
from pipeline.run.prepare import Prepared
from pipeline.seed_tasks import TaskPool
from pipeline.stage import (
    ChainStage,
    DraftStage,
    Drop,
    FilterStage,
    ImportStage,
    LLMStage,
    Reply,
    Request,
    Row,
    RowStage,
    Sampling,
)
from pipeline.stages import bootstrap
from pipeline.stages.drafts import DraftConfig
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.ledger import Spend
from pipeline.teacher.settings import Price

BYTES_A_TOKEN = 4
EXAMPLES = 32  # prompts that are rendered for each stage
ROWS_A_TASK = 2.5  # what a stage that makes rows is taken to make of each


@dataclass(frozen=True, slots=True)
class Asking:
    """What one stage would ask. Tokens are of the requests still to be sent; null is not known.

    `worst` takes every reply to be as long as `max_tokens` lets it, and a conversation to ask as
    often and as much as its stage ever can.
    """

    stage: str
    requests: int
    already_asked: int
    input_tokens: int
    output_tokens: int
    worst_output_tokens: int | None
    cost_usd: str | None
    worst_cost_usd: str | None
    worst_requests: int = 0
    worst_input_tokens: int | None = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """A number that is expected, and the highest that it can be."""

    usual: float
    most: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A plan: one entry an asking stage, what they sum up to, and what was assumed."""

    run: str
    recipe: str
    teacher: str
    stages: tuple[Asking, ...]
    assumptions: tuple[str, ...]

    @property
    def total(self) -> Asking:
        """The sum over the stages; null where one of them is not known."""
        return Asking(
            stage="total",
            requests=sum(one.requests for one in self.stages),
            already_asked=sum(one.already_asked for one in self.stages),
            input_tokens=sum(one.input_tokens for one in self.stages),
            output_tokens=sum(one.output_tokens for one in self.stages),
            worst_output_tokens=_sum([one.worst_output_tokens for one in self.stages]),
            cost_usd=_sum_money([one.cost_usd for one in self.stages]),
            worst_cost_usd=_sum_money([one.worst_cost_usd for one in self.stages]),
            worst_requests=sum(one.worst_requests for one in self.stages),
            worst_input_tokens=_sum([one.worst_input_tokens for one in self.stages]),
        )

    def as_dict(self) -> dict[str, Any]:
        """As plain data, the total included."""
        return dataclasses.asdict(self) | {"total": dataclasses.asdict(self.total)}

    def as_text(self) -> str:
        """For people."""
        lines = [f"{self.recipe} in {self.run}, teacher {self.teacher}. Nothing is sent.", ""]
        if self.stages:
            lines += [*_table((*self.stages, self.total)), ""]
        else:
            lines += ["No stage of this recipe asks a teacher.", ""]
        return "\n".join([*lines, *(f"* {line}" for line in self.assumptions)]) + "\n"


def estimate(prepared: Prepared) -> Estimate:
    """Estimate a prepared run, less what it, or the run that it is made from, has asked already."""
    run = _known(prepared)
    journal = (run.path if run is not None else prepared.run) / "journal.sqlite"
    with (
        JournalReader(journal) if run is not None and journal.is_file() else nullcontext() as reader
    ):
        stages = tuple(_stages(prepared, run, reader))
    is_offline = prepared.teacher.scheme == "offline"
    return Estimate(
        run=str(prepared.run),
        recipe=prepared.recipe.settings.name,
        teacher=prepared.teacher.model,
        stages=stages,
        assumptions=tuple(_assumptions(prepared, run, stages, is_offline=is_offline)),
    )


def _known(prepared: Prepared) -> Run | None:
    """The run whose replies count: this one, else the one it is made from, if that asked alike."""
    if prepared.existing is not None:
        return open_run(prepared.run)
    if prepared.old_run is None:
        return None
    old = open_run(prepared.old_run)
    return old if old.manifest.identity == prepared.identity else None


def _stages(prepared: Prepared, run: Run | None, reader: JournalReader | None) -> Iterator[Asking]:
    rows = Expected(0, 0)
    for index, step in enumerate(prepared.steps):
        stage = step.stage
        begun = run.stage(step.name) if run is not None and step.name in run.stages else None
        if isinstance(stage, ImportStage) and prepared.source is not None:
            rows = Expected(prepared.source.total, prepared.source.total)
        elif isinstance(stage, DraftStage):
            slots = _slots(step, begun)
            asked = reader.answered_slots(step.name) if reader is not None else 0
            left = max(slots - asked, 0)
            yield _asking(prepared, index, step, Expected(left, left), asked, run, reader)
            n_rows = getattr(step.config, "target", 0)
            if begun is not None:
                n_rows = max(n_rows, begun.kept)
            rows = Expected(n_rows, n_rows)
        elif isinstance(stage, RowStage):
            a_row = Expected(1.0, 1.0)
            if isinstance(stage, ChainStage):
                a_row = _requests_a_row(prepared, index, step, run)
            asked = _asked(stage, step.name, reader)
            left_of = _left(step, rows, a_row, asked, begun)
            yield _asking(prepared, index, step, left_of, asked, run, reader)
            rows = _made(step, rows, begun)
        elif isinstance(stage, FilterStage) and begun is not None and begun.candidates:
            rows = Expected(rows.usual * begun.kept / begun.candidates, rows.most)


def _asked(stage: Any, name: str, reader: JournalReader | None) -> int:  # noqa: ANN401 - RowStage
    if reader is None:
        return 0
    return reader.replies(name) if isinstance(stage, ChainStage) else reader.answered_slots(name)


def _left(
    step: Step, rows: Expected, a_row: Expected, asked: int, begun: StageManifest | None
) -> Expected:
    """Requests still to be sent: nothing about the rows that are done already."""
    usual = max(math.ceil(rows.usual * a_row.usual) - asked, 0)
    if not isinstance(step.stage, ChainStage):
        return Expected(usual, max(math.ceil(rows.most * a_row.most) - asked, 0))
    done = begun.next_slot if begun is not None and _is_as_far(step, begun) else 0
    if done:
        usual = min(usual, math.ceil(max(rows.usual - done, 0) * a_row.usual))
    return Expected(usual, math.ceil(max(rows.most - done, 0) * a_row.most))


def _is_as_far(step: Step, begun: StageManifest) -> bool:
    """Whether rows that were done ask no more under the settings as they are now."""
    assert isinstance(step.stage, ChainStage)
    before = step.stage.config.model_validate(begun.settings)
    return step.stage.requests_a_row(before) == step.stage.requests_a_row(step.config)


def _made(step: Step, rows: Expected, begun: StageManifest | None) -> Expected:
    """What a stage makes of its rows, or has made of as many as it has seen."""
    usual = most = ROWS_A_TASK if getattr(step.stage, "makes_rows", False) else 1.0
    if isinstance(step.stage, ChainStage):
        usual = step.stage.rows_a_row(step.config)
        most = (step.stage.most_rows_a_row or step.stage.rows_a_row)(step.config)
    if begun is not None and begun.next_slot:
        usual = begun.kept / begun.next_slot
        if not isinstance(step.stage, ChainStage):
            most = usual
    return Expected(rows.usual * usual, rows.most * most)


def _requests_a_row(prepared: Prepared, index: int, step: Step, run: Run | None) -> Expected:
    """How often a conversation asks: of some of the rows where it depends on them."""
    stage = step.stage
    assert isinstance(stage, ChainStage)
    if (about := stage.requests_about) is not None:
        rows = itertools.islice(_example_rows(prepared, index, run), EXAMPLES)
        if found := [about(row, step.config) for row in rows]:
            return Expected(mean(found), max(found))
    most = stage.most_requests_a_row or stage.requests_a_row
    return Expected(stage.requests_a_row(step.config), most(step.config))


def _slots(step: Step, begun: StageManifest | None) -> int:
    """Requests to the target: at the yield so far where there is one, else at the expected one."""
    config = step.config
    assert isinstance(config, DraftConfig)
    slots, kept, usual = 0, 0, config.expected_yield
    if begun is not None and begun.kept:
        slots, kept = begun.next_slot, begun.kept
        usual = kept / slots
    return slots + math.ceil(max(config.target - kept, 0) / usual)


def _asking(
    prepared: Prepared,
    index: int,
    step: Step,
    requests: Expected,
    asked: int,
    run: Run | None,
    reader: JournalReader | None,
) -> Asking:
    left, most_left = round(requests.usual), round(requests.most)
    examples = _examples(prepared, index, step, run)
    prompts = [_tokens_of(prepared, step, request) for request in examples]
    n_in = math.ceil(left * mean(prompts)) if prompts else 0
    most_in = _most_input(step, most_left, prompts)
    limits = [found.max_tokens for _, found in step.config if isinstance(found, Sampling)]
    most = None if None in limits else max((one for one in limits if one), default=None)
    if isinstance(step.stage, RowStage) and step.stage.endpoint is not None:
        most = 0  # no text comes back
    expected = _reply_tokens(prepared, step, most, reader)
    n_out = math.ceil(left * expected)
    worst = None if most is None else most_left * most
    model = prepared.model_of(step)
    price = prepared.recipe.settings.prices.get(model.name)
    if price is None and model.is_free:
        price = Price(input=Decimal(0), output=Decimal(0))
    return Asking(
        stage=step.name,
        requests=left,
        already_asked=asked,
        input_tokens=n_in,
        output_tokens=n_out,
        worst_output_tokens=worst,
        cost_usd=_money(price, n_in, n_out),
        worst_cost_usd=None if most_in is None else _money(price, most_in, worst),
        worst_requests=most_left,
        worst_input_tokens=most_in,
    )


def _most_input(step: Step, requests: int, prompts: list[float]) -> int | None:
    """Input tokens of so many requests: of usual ones, but of the longest where replies go in."""
    added = 0
    if isinstance(step.stage, ChainStage):
        if (found := step.stage.most_added_tokens(step.config)) is None:
            return None
        added = found
    if not prompts:
        return 0
    return math.ceil(requests * (max(prompts) + added if added else mean(prompts)))


def _examples(prepared: Prepared, index: int, step: Step, run: Run | None) -> Iterator[Request]:
    """Requests as the stage would make them, from rows that are there or stand in for them.

    Of a stage that says what stands in for its replies, whole conversations; else `EXAMPLES`.
    """
    if isinstance(step.stage, ChainStage) and step.stage.stand_in is not None:
        for number, row in enumerate(
            itertools.islice(_example_rows(prepared, index, run), EXAMPLES)
        ):
            yield from _conversation(step.stage, row, step, number)
    else:
        yield from itertools.islice(_single_examples(prepared, index, step, run), EXAMPLES)


def _single_examples(
    prepared: Prepared, index: int, step: Step, run: Run | None
) -> Iterator[Request]:
    stage = step.stage
    if isinstance(stage, DraftStage):
        assert prepared.seeds is not None
        pool = TaskPool(prepared.seeds.tasks)
        for slot in range(EXAMPLES):
            rng = Random(f"{prepared.recipe.settings.seed}:{step.name}:{slot}")
            yield stage.ask(pool, 0, step.config, rng)
    elif isinstance(stage, LLMStage):
        for row in _example_rows(prepared, index, run):
            yield stage.ask(row, step.config, Random(0))
    elif isinstance(stage, ChainStage):
        for row in _example_rows(prepared, index, run):
            yield from _conversation(stage, row, step)


def _conversation(stage: ChainStage, row: Row, step: Step, number: int = 0) -> Iterator[Request]:
    """The requests of a conversation; replies are what the stage says, else the row's own text."""
    own_text = str(row.get("output") or row.get("instruction") or "")
    stand_in = stage.stand_in or (lambda request, row: own_text)
    work = stage.work(row, step.config, Random(number))
    try:
        requests = next(work)
        while True:
            yield from requests
            requests = work.send([Reply(stand_in(request, row)) for request in requests])
    except StopIteration:
        return


def _example_rows(prepared: Prepared, index: int, run: Run | None) -> Iterator[Row]:
    """Rows of the stage before where it has some, else of the source, else the seed tasks."""
    before = prepared.steps[index - 1].name
    columns = prepared.columns[index - 1]
    if run is not None and before in run.stages and run.stage(before).kept:
        yield from store.read_rows(run.shards(before, "kept"))
    elif prepared.source is not None:
        for found in prepared.source.rows():
            if not isinstance(found, Drop):
                yield dict.fromkeys(columns) | found
    elif prepared.seeds is not None:
        for task in prepared.seeds.tasks:
            first_input, first_output = task.instances[0]
            known = {
                "row_id": task.id,
                "root_id": task.id,
                "instruction": task.instruction,
                "input": first_input,
                "output": first_output,
                "is_classification": task.is_classification,
            }
            yield dict.fromkeys(columns) | known


def _tokens_of(prepared: Prepared, step: Step, request: Request) -> float:
    if not request.template:
        return sum(len(str(value).encode()) for value in request.values.values()) / BYTES_A_TOKEN
    template = prepared.templates[request.template]
    text = (template.system or "") + template.prompt(request.values, step.name)
    return len(text.encode()) / BYTES_A_TOKEN


def _reply_tokens(
    prepared: Prepared, step: Step, max_tokens: int | None, reader: JournalReader | None
) -> float:
    """Tokens of a usual reply: as replies were so far, else of so many seed tasks, else half."""
    if reader is not None:
        usage = reader.usage(step.name)
        replies, tokens = sum(one.replies for one in usage), sum(one.output_tokens for one in usage)
        if replies and tokens:
            return float(tokens / replies)
    if isinstance(step.config, bootstrap.Config) and prepared.seeds is not None:
        sizes = [len(task.instruction.encode()) + 4 for task in prepared.seeds.tasks]
        usual = step.config.new_tasks * mean(sizes) / BYTES_A_TOKEN
        return usual if max_tokens is None else min(usual, max_tokens)
    return (max_tokens or 0) / 2


def _assumptions(
    prepared: Prepared, run: Run | None, stages: tuple[Asking, ...], *, is_offline: bool
) -> Iterator[str]:
    settings = prepared.recipe.settings
    yield from prepared.recipe.said_of_left_out()
    if not stages:
        return
    yield f"{BYTES_A_TOKEN} bytes a token, measured on up to {EXAMPLES} real prompts a stage"
    for step in prepared.steps:
        if isinstance(step.config, DraftConfig):
            open_slots = min(settings.teacher.concurrency, step.config.resolved_window())
            yield (
                f"{step.name}: {step.config.expected_yield:g} new tasks a request "
                f"({step.name}.expected_yield); up to {open_slots} more requests are open when the "
                "target is reached"
            )
    yield (
        "a reply is as long as those in the journal; without any, as its number of seed tasks, or "
        "half of max_tokens; at worst all of max_tokens"
    )
    if any(isinstance(s.stage, FilterStage) for s in prepared.steps[:-1]):
        yield "filters are taken to drop nothing, or what they have dropped so far"
    for index, step in enumerate(prepared.steps):
        if isinstance(step.stage, ChainStage):
            requests = _requests_a_row(prepared, index, step, run)
            rows = step.stage.rows_a_row(step.config)
            yield f"{step.name}: {requests.usual:g} requests about a row, and {rows:g} rows of it"
            if step.stage.most_rows_a_row is not None:
                most = step.stage.most_rows_a_row(step.config)
                (asking,) = (one for one in stages if one.stage == step.name)
                n_in = asking.worst_input_tokens
                yield (
                    f"{step.name}: at worst {requests.most:g} requests about a row, and {most:g} "
                    f"rows of it; {asking.worst_requests:,} requests in all, with "
                    f"{'an unknown number of' if n_in is None else f'{n_in:,}'} input tokens"
                )
            if step.stage.stand_in is not None:
                yield (
                    f"{step.name}: its prompts are those of whole conversations about up to "
                    f"{EXAMPLES} rows, with replies that stand in for real ones"
                )
    if any(isinstance(s.stage, LLMStage) and s.stage.makes_rows for s in prepared.steps):
        yield f"a stage that makes rows makes {ROWS_A_TASK:g} of each, or as many as so far"
    yield (
        "on top: a reply that cannot be used is asked for again, until "
        f"{settings.teacher.attempts} of a request have come (teacher.attempts)"
    )
    for name in prepared.judged_by_teacher:
        yield f"{name}: no judge is named, so the teacher judges (--judge names one)"
    judge = prepared.judge.uri.model if prepared.judge is not None else None
    if judge is not None and judge != "offline" and judge not in settings.prices:
        yield f"no price for the judge {judge}: put one under 'prices' in the recipe"
    if is_offline:
        yield "the offline teacher costs nothing"
    elif prepared.teacher.scheme == "st":
        yield "a model on this machine costs nothing"
    elif prepared.teacher.model not in settings.prices:
        yield (
            f"no price: put  prices: {{{prepared.teacher.model}: {{input: 0.15, output: 0.60}}}}  "
            "(dollars for a million tokens) into the recipe"
        )


def _money(price: Price | None, input_tokens: int, output_tokens: int | None) -> str | None:
    if price is None or output_tokens is None:
        return None
    spent = Spend(input_tokens, output_tokens).usd(price)
    return str(spent.quantize(Decimal("0.01")) if spent >= 1 else spent.quantize(Decimal("0.0001")))


def _sum(found: list[int | None]) -> int | None:
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def _sum_money(found: list[str | None]) -> str | None:
    known = [Decimal(one) for one in found if one is not None]
    return str(sum(known, Decimal(0))) if len(known) == len(found) else None


def _table(stages: tuple[Asking, ...]) -> list[str]:
    head = (
        "stage",
        "requests",
        "asked before",
        "input tokens",
        "output tokens",
        "at worst",
        "cost",
        "at worst",
    )
    rows = [
        (
            one.stage,
            f"{one.requests:,}",
            f"{one.already_asked:,}",
            f"{one.input_tokens:,}",
            f"{one.output_tokens:,}",
            "?" if one.worst_output_tokens is None else f"{one.worst_output_tokens:,}",
            "?" if one.cost_usd is None else f"${one.cost_usd}",
            "?" if one.worst_cost_usd is None else f"${one.worst_cost_usd}",
        )
        for one in stages
    ]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)))
    return lines
