"""What a run would ask in requests, tokens and money, measured on real prompts; nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from decimal import Decimal
from statistics import mean
from typing import get_args

from pipeline.inspect import Run, open_run
from pipeline.manifest import StageManifest
from pipeline.recipe import Step
from pipeline.run.evaluated import own_training
from pipeline.run.example_requests import (
    BYTES_A_TOKEN,
    EXAMPLES,
    Expected,
    example_requests,
    prompt_tokens,
    requests_a_row,
)
from pipeline.run.plan import Asking, Estimate
from pipeline.run.plan_training import about_training
from pipeline.run.prepare import Prepared
from pipeline.run.roles import asked_roles
from pipeline.stage import (
    AskingStage,
    ChainStage,
    DraftStage,
    EvaluateStage,
    FilterStage,
    ImportStage,
    LLMStage,
    RenderStage,
    Role,
    RowStage,
    Sampling,
    TrainStage,
    role_of,
)
from pipeline.stages import bootstrap
from pipeline.stages.drafts import DraftConfig
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.ledger import Spend
from pipeline.teacher.settings import Price

ROWS_A_TASK = 2.5  # what a stage that makes rows is taken to make of each


def estimate(prepared: Prepared) -> Estimate:
    """Estimate a prepared run, less what it, or the run that it is made from, has asked already."""
    run = _known(prepared)
    journal = (run.path if run is not None else prepared.run) / "journal.sqlite"
    with (
        JournalReader(journal) if run is not None and journal.is_file() else nullcontext() as reader
    ):
        arriving: dict[str, float] = {}
        stages = tuple(_stages(prepared, run, reader, arriving))
    return Estimate(
        run=str(prepared.run),
        recipe=prepared.recipe.settings.name,
        teacher=prepared.teacher.model,
        stages=stages,
        assumptions=(*_assumptions(prepared, run, stages), *_about_trainings(prepared, arriving)),
        asked=_asked_models(prepared),
    )


def _asked_models(prepared: Prepared) -> dict[str, str]:
    """Whom the stages ask, by role; the teacher where it judges because no judge is named."""
    roles = [role_of(step.stage) for step in prepared.steps if isinstance(step.stage, AskingStage)]
    named = [
        "teacher" if role == "judge" and prepared.judge is None else role
        for role in asked_roles(prepared.recipe)
        if role in roles
    ]
    return {role: prepared.models[role].name for role in get_args(Role) if role in named}


def _known(prepared: Prepared) -> Run | None:
    """The run whose replies count: this one, else the one it is made from, if that asked alike."""
    if prepared.existing is not None:
        return open_run(prepared.run)
    if prepared.old_run is None:
        return None
    old = open_run(prepared.old_run)
    return old if old.manifest.identity == prepared.identity else None


def _stages(
    prepared: Prepared, run: Run | None, reader: JournalReader | None, arriving: dict[str, float]
) -> Iterator[Asking]:
    """What each asking stage asks; `arriving` gets the rows that come to each that trains."""
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
                a_row = requests_a_row(prepared, index, step, run)
            asked = _asked(stage, step.name, reader)
            left_of = _left(step, rows, a_row, asked, begun)
            yield _asking(prepared, index, step, left_of, asked, run, reader)
            rows = _made(step, rows, begun)
        elif isinstance(stage, TrainStage):
            arriving[step.name] = rows.usual
        elif isinstance(stage, RenderStage):
            n_made = stage.rows_a_row(step.config)
            rows = Expected(math.ceil(rows.usual * n_made), math.ceil(rows.most * n_made))
        elif isinstance(stage, EvaluateStage) and begun is None:
            rows = _held_out(prepared, step, rows)
        elif isinstance(stage, FilterStage) and begun is not None and begun.candidates:
            rows = Expected(rows.usual * begun.kept / begun.candidates, rows.most)


def _held_out(prepared: Prepared, step: Step, rows: Expected) -> Expected:
    """The rows that are evaluated, where the recipe trains and holds a share of them out."""
    own = own_training(prepared.recipe, step)
    share = 1.0 if own is None else float(getattr(own.config, "validation", 1.0))
    return Expected(rows.usual * share, rows.most)


def _asked(stage: RowStage, name: str, reader: JournalReader | None) -> int:
    """How many replies the journal has for a stage: of a conversation there are several a row."""
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
    examples = example_requests(prepared, index, step, run)
    prompts = [prompt_tokens(prepared, step, request) for request in examples]
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


def _assumptions(prepared: Prepared, run: Run | None, stages: tuple[Asking, ...]) -> Iterator[str]:
    """What the figures take for granted, a sentence each."""
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
    asked = {asking.stage: asking for asking in stages}
    for index, step in enumerate(prepared.steps):
        if isinstance(step.stage, ChainStage):
            requests = requests_a_row(prepared, index, step, run)
            yield from _about_conversations(step, requests, asked[step.name])
    if any(isinstance(s.stage, LLMStage) and s.stage.makes_rows for s in prepared.steps):
        yield f"a stage that makes rows makes {ROWS_A_TASK:g} of each, or as many as so far"
    yield (
        "on top: a reply that cannot be used is asked for again, until "
        f"{settings.teacher.attempts} of a request have come (teacher.attempts)"
    )
    for name in prepared.judged_by_teacher:
        yield f"{name}: no judge is named, so the teacher judges (--judge names one)"
    yield from _about_prices(prepared)


def _about_conversations(step: Step, requests: Expected, asking: Asking) -> Iterator[str]:
    stage, config = step.stage, step.config
    assert isinstance(stage, ChainStage)
    rows = stage.rows_a_row(config)
    yield f"{step.name}: {requests.usual:g} requests about a row, and {rows:g} rows of it"
    if stage.most_rows_a_row is not None:
        n_in = asking.worst_input_tokens
        yield (
            f"{step.name}: at worst {requests.most:g} requests about a row, and "
            f"{stage.most_rows_a_row(config):g} rows of it; {asking.worst_requests:,} requests in "
            f"all, with {'an unknown number of' if n_in is None else f'{n_in:,}'} input tokens"
        )
    if stage.stand_in is not None:
        yield (
            f"{step.name}: its prompts are those of whole conversations about up to "
            f"{EXAMPLES} rows, with replies that stand in for real ones"
        )


def _about_trainings(prepared: Prepared, arriving: dict[str, float]) -> Iterator[str]:
    for step in prepared.steps:
        if step.name in arriving:
            yield from about_training(step, prepared.bases.get(step.name), arriving[step.name])


def _about_prices(prepared: Prepared) -> Iterator[str]:
    prices = prepared.recipe.settings.prices
    judge = prepared.judge
    if judge is not None and not judge.is_free and judge.name not in prices:
        yield f"no price for the judge {judge.name}: put one under 'prices' in the recipe"
    if prepared.teacher.scheme == "offline":
        yield "the offline teacher costs nothing"
    elif prepared.models["teacher"].is_free:
        yield "a model on this machine costs nothing"
    elif prepared.teacher.model not in prices:
        yield (
            f"no price: put  prices: {{{prepared.teacher.model}: {{input: 0.15, output: 0.60}}}}  "
            "(dollars for a million tokens) into the recipe"
        )


def _money(price: Price | None, input_tokens: int, output_tokens: int | None) -> str | None:
    if price is None or output_tokens is None:
        return None
    spent = Spend(input_tokens, output_tokens).usd(price)
    return str(spent.quantize(Decimal("0.01")) if spent >= 1 else spent.quantize(Decimal("0.0001")))
