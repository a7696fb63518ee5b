"""Say of each task whether it is a classification task.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.2. As in the released code
only an exact Yes counts; anything else that a teacher answers means no. A request without a reply
is not a no: its row is dropped and says so, and so is one whose first word was cut off.
"""

from __future__ import annotations

from random import Random

from pipeline.stage import AskingConfig, Drop, LLMStage, Reply, Request, Row, Sampling
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.yes_no import YES_OR_NO, is_word_cut_off, is_yes


class Config(AskingConfig):
    """Settings of `classify`: the paper's decoding."""

    sampling: Sampling = Sampling(temperature=0, stop=("\n",), max_tokens=3)


def ask(row: Row, config: Config, rng: Random) -> Request:
    """One question a task."""
    return Request("classify", {"instruction": row["instruction"]})


def read(reply: Reply, row: Row, config: Config) -> list[Row | Drop]:
    """Yes, or not; a `Drop` where no whole word came."""
    if is_word_cut_off(reply, YES_OR_NO):
        return [Drop("answer_cut_off", reply.text[:200])]
    return [{"is_classification": is_yes(clean_reply(reply.text))}]


STAGE = LLMStage(
    name="classify",
    version=1,
    summary="say of each task whether it is a classification task",
    config=Config,
    prompts=("classify",),
    ask=ask,
    read=read,
    reads=("row_id", "instruction"),
    writes=("is_classification", "requests"),
)
