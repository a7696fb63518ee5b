r"""Draft a fourth example after three: an instruction, its input, and constraints on the output.

Source: Honovich et al. 2023, "Unnatural Instructions" (arXiv:2212.09689), section 2.1. The output
is asked for in a request of its own (`respond` with `constraints`), paraphrases come from
`reformulate`. One real reply to a prompt that ends in "Example 4":

    Instruction: You are given a news headline. Say which department of a newspaper it belongs to.
    Input: Harbour town votes on a second bridge
    Constraints: The output is one of these: local, sport, business.

Where we differ: three of all seed tasks are drawn for each request, not one of five fixed triples;
the constraints of a seed task say which labels it has; and what resembles a seed task or an earlier
draft is dropped by ROUGE-L (`threshold`), which also meets what the paper drops, copies of an
example and of each other.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated

from pydantic import Field

from pipeline.seed_tasks import SeedTask, TaskPool
from pipeline.stage import (
    IDENTITY,
    OPERATIONAL,
    DraftStage,
    Drop,
    Pool,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.drafts import DraftConfig, judge, writes
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.says_none import says_none

FIELD = re.compile(
    r"^[ \t]*\**(Instruction|Input|(?:Output )?Constraints?|Output)[ \t]*:\**[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
WANTED = ("instruction", "input", "constraints")


class Config(DraftConfig):
    """Settings of `unnatural`; demonstrations and sampling default to the paper's."""

    demonstrations: Annotated[int, Field(ge=1, le=50), IDENTITY] = 3
    expected_yield: Annotated[float, Field(gt=0), OPERATIONAL] = 0.8
    sampling: Sampling = Sampling(temperature=1, top_p=0.99, stop=("\nExample 5",), max_tokens=1024)


def ask(pool: Pool, n_drafts: int, config: Config, rng: Random) -> Request:
    """Build one request from seed tasks, each with one of its instances."""
    assert isinstance(pool, TaskPool)
    shown = [pool.task(row_id) for row_id, _ in rng.sample(pool.seeds, config.demonstrations)]
    examples = [
        {
            "instruction": task.instruction,
            "input": rng.choice(task.instances)[0] or "None.",
            "constraints": constraints_of(task),
        }
        for task in shown
    ]
    values = {"examples": examples, "number": len(examples) + 1}
    return Request("unnatural", values, shown=tuple(task.id for task in shown))


def constraints_of(task: SeedTask) -> str:
    """What a seed task says of its outputs: the labels that its instances show, or nothing."""
    if not task.is_classification:
        return "None."
    labels = sorted({output for _, output in task.instances})
    return f"The output is one of these: {', '.join(labels)}."


def read(reply: Reply, config: Config) -> list[Row | Drop]:
    """The one example of a reply, or what it lacks."""
    text = clean_reply(reply.text)
    before, *rest = FIELD.split(text)
    found: dict[str, str] = {}
    for name, said in zip(rest[::2], rest[1::2], strict=True):
        key = "constraints" if "constraint" in name.lower() else name.lower()
        if key in found:
            break  # an example of its own after the one that was asked for
        found[key] = said.strip()
    found.setdefault("instruction", before.strip() if "instruction" not in found else "")
    instruction = found["instruction"]
    given, constraints = (
        "" if says_none(found.get(name, "")) else found[name] for name in WANTED[1:]
    )
    row: Row = {"instruction": instruction, "input": given, "output_constraints": constraints}
    if reply.is_cut_off:
        return [Drop("item_cut_off", reply.finish_reason, row=row)]
    if missing := [name for name in WANTED if name not in found or not found["instruction"]]:
        return [Drop("missing_field", ", ".join(missing), row=row)]
    return [row]


STAGE = DraftStage(
    name="unnatural",
    version=1,
    summary="draft a fourth example after three: instruction, input, constraints on the output",
    config=Config,
    prompts=("unnatural",),
    ask=ask,
    read=read,
    judge=judge,
    writes=writes("instruction", "input", "output_constraints"),
)
