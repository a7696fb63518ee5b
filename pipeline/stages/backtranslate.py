"""Write the instruction that a text answers, then rate the pair.

Source: Li et al. 2024, "Self-Alignment with Instruction Backtranslation" (arXiv:2308.06259,
Humpback), sections 2.2 and 2.3. Where we differ: the teacher writes and rates through prompts,
where the paper trains a backward model and rates with the model of the round before. The rating is
a column; the filter `pair_rating` drops by it. Two real replies, the second to the request for a
rating:

    Explain to a new member of a rowing club why the crew turns the blades flat between strokes.

    The text explains exactly what was asked, to the reader who was named.
    Score: 5
"""

from __future__ import annotations

import re
from random import Random

from pipeline.stage import (
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.numbered_list import clean_reply

SCORE = re.compile(
    r"(?:score|rating|grade|评分|得分|分数)\**\s*(?:\([^)]*\))?\s*(?:is|of|为|是)?\s*\**[:：=]?\s*\**\s*"
    r"([0-9]+(?:\.[0-9]+)?)",
    re.IGNORECASE,
)
BARE = re.compile(r"\(?([0-9]+(?:\.[0-9]+)?)\)?(?:\s*(?:/|out of)\s*5|\s*points?|分)?\.?")
ALONE = re.compile(rf"\W*{SCORE.pattern}\W*|{BARE.pattern}", re.IGNORECASE)

STALE = ("shown", "nearest_id", "nearest_score", "is_classification", "output_constraints")
"""Columns that speak of an instruction which the new one replaces."""


class Config(AskingConfig):
    """Settings of `backtranslate`: how the instruction is written, and how the pair is rated."""

    sampling: Sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=512)
    rating: Sampling = Sampling(temperature=0, max_tokens=512)


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask for the instruction, and if there is one, for the rating."""
    text = (row["output"] or "").strip()
    if not text:
        return [Drop("empty_output")]
    (reply,) = yield [Request("backtranslate", {"output": text})]
    if isinstance(reply, Drop):
        return [reply]
    made: Row = {name: None for name in STALE if name in row}
    made |= {"instruction": instruction_of(reply), "input": "", "origin": "teacher"}
    if reply.is_cut_off:
        return [Drop("item_cut_off", reply.finish_reason, row=made)]
    if not made["instruction"]:
        return [Drop("empty_item", row=made)]
    values = {"instruction": made["instruction"], "output": text}
    (judged,) = yield [Request("rate-pair", values, sampling="rating")]
    if isinstance(judged, Drop):
        return [Drop(judged.reason, judged.detail, row=made)]
    rating = rating_of(judged)
    if judged.is_cut_off and rating is None:
        return [Drop("cut_off", judged.text[:200], row=made)]
    return [made | {"pair_rating": rating}]


def instruction_of(reply: Reply) -> str:
    """The instruction of a reply, without a field name and quotation marks around all of it."""
    text = clean_reply(reply.text).strip()
    text = re.sub(r"\A\**Instruction\**\s*:\**\s*", "", text, flags=re.IGNORECASE)
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def rating_of(reply: Reply) -> int | None:
    r"""The last score that a reply names, or its only line; null where it is none from 1 to 5.

    Of a reply that was cut off, the last score may be missing and a number may go on: only a whole
    first line that is nothing else counts.

    >>> rating_of(Reply("It helps.\nScore: 4")), rating_of(Reply("5/5")), rating_of(Reply("Good."))
    (4, 5, None)
    >>> rating_of(Reply("Score: 4.5")), rating_of(Reply("Score: 7"))
    (None, None)
    >>> rating_of(Reply("Score: 4\nIt hel", "length")), rating_of(Reply("Score: 4", "length"))
    (4, None)
    """
    text = clean_reply(reply.text).strip()
    if reply.is_cut_off:
        first, newline, _ = clean_reply(reply.text).lstrip().partition("\n")
        text = first.strip() if newline and ALONE.fullmatch(first.strip()) else ""
    lines = text.splitlines()
    bare = BARE.fullmatch(text) or (BARE.fullmatch(lines[0].strip()) if lines else None)
    said = SCORE.findall(text) or ([bare[1]] if bare else [])
    return int(said[-1]) if said and said[-1] in ("1", "2", "3", "4", "5") else None


STAGE = ChainStage(
    name="backtranslate",
    version=1,
    summary="write the instruction that a text answers, and rate the pair",
    config=Config,
    prompts=("backtranslate", "rate-pair"),
    work=work,
    requests_a_row=lambda config: 2.0,
    makes_rows=True,
    reads=("row_id", "root_id", "output"),
    writes=(
        "row_id",
        "origin",
        "teacher",
        "parent_id",
        "instruction",
        "input",
        "pair_rating",
        "requests",
    ),
)
