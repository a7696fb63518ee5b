r"""Answer each instruction; where wanted with steps, several samples, a vote and a reference.

Sources: Wei et al. 2022, "Chain-of-Thought Prompting" (arXiv:2201.11903); Wang et al. 2023,
"Self-Consistency" (arXiv:2203.11171), for the vote; Zelikman et al. 2022, "STaR"
(arXiv:2203.14465), for keeping only chains that reach the reference. One real reply with steps:

    Four boxes of six eggs are 24 eggs. Five of them broke, so 24 - 5 = 19 are left.
    Answer: 19 eggs are left.

Measuring is apart from deciding: `agreement` and `votes` are columns, the filter `agreement` drops
by them. An answer that was cut off is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal

from pydantic import Field, model_validator

from filters import refusal, stop_words
from pipeline.stage import (
    IDENTITY,
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.final_answer import final_answer, is_same_answer
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.votes import vote, vote_for

ANSWER_LINE = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*)?\**(?:Final )?(?:Answer|答案|最终答案)\**[ \t]*[:：]\**[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)

APOLOGY = 40  # words of an answer in which an apology is all there is
SHORT = 2  # stop words that can be an answer: "No", "at once"


class Config(AskingConfig):
    """Settings of `respond`.

    With `steps` the teacher thinks first and answers after it; with `constraints` it is told the
    row's `output_constraints`. `reference` names the column that holds the right answer: a row that
    has one keeps only an answer that comes to the same. With "output" the old answer is it.
    """

    samples: Annotated[int, Field(ge=1, le=100), IDENTITY] = 1
    steps: Annotated[bool, IDENTITY] = False
    constraints: Annotated[bool, IDENTITY] = False
    reference: Annotated[Literal["reference", "output"] | None, IDENTITY] = None
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=2048)

    @model_validator(mode="after")
    def _one_way(self) -> Config:
        if self.steps and self.constraints:
            raise ValueError("steps and constraints go into different requests: choose one")
        return self


@dataclass(frozen=True, slots=True)
class Sample:
    """One whole answer, the thoughts before it (null where none were asked for), its final answer.

    `final` is null where the answer comes to nothing that can be compared.
    """

    output: str
    reasoning: str | None
    final: str | None


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask for the samples at once and choose among them."""
    replies = yield [_request(row, config)] * config.samples
    return [choose([read(reply, config) for reply in replies], row, config)]


def _request(row: Row, config: Config) -> Request:
    values = {"instruction": row["instruction"], "input": row["input"] or ""}
    if config.constraints:
        values["constraints"] = row["output_constraints"] or ""
    return Request(_template(config), values)


def _template(config: Config) -> str:
    kind = "-steps" if config.steps else "-constraints" if config.constraints else ""
    return f"respond{kind}"


def read(reply: Reply | Drop, config: Config) -> Sample | Drop:
    """One sample, or why it is none: no reply, cut off, empty, or no line with the answer."""
    if isinstance(reply, Drop):
        return reply
    text = clean_reply(reply.text).strip()
    if reply.is_cut_off:
        return Drop("answer_cut_off", reply.finish_reason, row={"output": text})
    reasoning = None
    if config.steps:
        *before, output = ANSWER_LINE.split(text)
        if not before:
            return Drop("no_answer_line", text[-200:], row={"output": text})
        reasoning = text[: len(text) - len(output)]
        reasoning = ANSWER_LINE.sub("", reasoning).strip()
        text = output.strip()
    if not text:
        return Drop("empty_answer", row={"output": "", "reasoning": reasoning})
    return Sample(text, reasoning, final_answer(text))


def choose(samples: Sequence[Sample | Drop], row: Row, config: Config) -> Row | Drop:
    """The first sample with the answer that wins, or that the reference asks for.

    Where no sample has a final answer there is no vote, and the first whole one stands. A refusal
    is as short as a final answer; it neither votes nor stands unless all samples refuse.
    """
    whole = [sample for sample in samples if isinstance(sample, Sample)]
    if not whole:
        return next(sample for sample in samples if isinstance(sample, Drop))
    telling = [sample for sample in whole if _tells(sample)] or whole
    finals = [sample.final for sample in telling]
    told = vote(finals)
    chosen = telling[told.winner or 0]
    reference = (row[config.reference] or "").strip() if config.reference else ""
    reached = True
    if reference:
        wanted = final_answer(reference) or reference
        reaching = [one for one in whole if _reaches(one, wanted, reference)]
        reached, chosen = bool(reaching), (reaching or [chosen])[0]
    made: Row = {
        "output": chosen.output,
        "reasoning": chosen.reasoning,
        "final_answer": chosen.final,
        "votes": told.votes,
        "agreement": vote_for(chosen.final, finals),
    }
    if config.reference:
        made["reference"] = reference or None
    if not reached:
        said = f"{chosen.final or 'no final answer'}, not {wanted}"
        return Drop("reference_not_reached", said[:200], row=made)
    return made


def _tells(sample: Sample) -> bool:
    """Whether a sample is more than an apology, or than a phrase of stop words ("No" is more)."""
    is_phrase = len(sample.output.split()) > SHORT and stop_words.judge(sample.output)[0]
    return (
        not is_phrase
        and refusal.judge(sample.output, words=APOLOGY, characters=2 * APOLOGY)[0] is None
    )


def _reaches(sample: Sample, wanted: str, reference: str) -> bool:
    """Whether a sample comes to what is wanted; one that says all of the reference does, too."""
    if sample.final and is_same_answer(sample.final, wanted):
        return True
    return sample.output.casefold().split() == reference.casefold().split()


def reads(config: Config) -> tuple[str, ...]:
    """The task, and what its settings name."""
    named = ["output_constraints"] if config.constraints else []
    return (
        "row_id",
        "instruction",
        "input",
        *named,
        *([config.reference] if config.reference else []),
    )


STAGE = ChainStage(
    name="respond",
    version=2,
    summary="answer each instruction: steps, several samples, a vote, a reference",
    config=Config,
    prompts=lambda config: (_template(config),),
    work=work,
    requests_a_row=lambda config: float(config.samples),
    decisions=("reference_not_reached",),
    reads=reads,
    writes=(
        "teacher",
        "output",
        "reasoning",
        "reference",
        "final_answer",
        "votes",
        "agreement",
        "requests",
    ),
)
