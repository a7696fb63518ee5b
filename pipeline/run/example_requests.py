"""Requests as a stage would make them, from rows that are there or that stand in for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from statistics import mean

from pipeline import store
from pipeline.inspect import Run
from pipeline.recipe import Step
from pipeline.run.prepare import Prepared
from pipeline.seed_tasks import TaskPool
from pipeline.stage import ChainStage, DraftStage, Drop, LLMStage, Reply, Request, Row

BYTES_A_TOKEN = 4
EXAMPLES = 32  # prompts that are rendered for each stage


@dataclass(frozen=True, slots=True)
class Expected:
    """A number that is expected, and the highest that it can be."""

    usual: float
    most: float


def requests_a_row(prepared: Prepared, index: int, step: Step, run: Run | None) -> Expected:
    """How often a conversation asks: of some of the rows where it depends on them."""
    stage = step.stage
    assert isinstance(stage, ChainStage)
    if (about := stage.requests_about) is not None:
        rows = itertools.islice(example_rows(prepared, index, run), EXAMPLES)
        if found := [about(row, step.config) for row in rows]:
            return Expected(mean(found), max(found))
    most = stage.most_requests_a_row or stage.requests_a_row
    return Expected(stage.requests_a_row(step.config), most(step.config))


def example_requests(
    prepared: Prepared, index: int, step: Step, run: Run | None
) -> Iterator[Request]:
    """Of a stage that says what stands in for its replies, whole conversations; else `EXAMPLES`."""
    if isinstance(step.stage, ChainStage) and step.stage.stand_in is not None:
        for number, row in enumerate(
            itertools.islice(example_rows(prepared, index, run), EXAMPLES)
        ):
            yield from _conversation(step.stage, row, step, number)
    else:
        yield from itertools.islice(_single_requests(prepared, index, step, run), EXAMPLES)


def _single_requests(
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
        for row in example_rows(prepared, index, run):
            yield stage.ask(row, step.config, Random(0))
    elif isinstance(stage, ChainStage):
        for row in example_rows(prepared, index, run):
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


def example_rows(prepared: Prepared, index: int, run: Run | None) -> Iterator[Row]:
    """Rows of the stage before where it has some, else of the source, else the seed tasks."""
    before = prepared.steps[index - 1].name
    columns = prepared.columns[index - 1]
    if run is not None and before in run.stages and run.stage(before).kept:
        yield from store.read_rows(run.shards(before, "kept"))
    elif prepared.source is not None:
        for found in prepared.source.rows():
            if not isinstance(found, Drop):
                yield dict.fromkeys(columns) | prepared.masking.row(found)
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


def prompt_tokens(prepared: Prepared, step: Step, request: Request) -> float:
    """How long a request's prompt is in tokens, at `BYTES_A_TOKEN`."""
    if not request.template:
        return sum(len(str(value).encode()) for value in request.values.values()) / BYTES_A_TOKEN
    template = prepared.templates[request.template]
    text = (template.system or "") + template.prompt(request.values, step.name)
    return len(text.encode()) / BYTES_A_TOKEN
