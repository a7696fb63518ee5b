"""A vote over the final answers of several samples.

Source: Wang et al. 2023, "Self-Consistency" (arXiv:2203.11171), section 2: the answer that most
samples come to. A sample without a final answer does not vote; of a tie the answer that came first
wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stages.final_answer import answer_key


@dataclass(frozen=True, slots=True)
class Vote:
    """The place of the first sample with the winning answer, and how the vote went.

    `agreement` is the share of the votes that the winner has; null, as the winner is, where nobody
    votes.
    """

    winner: int | None
    votes: int
    agreement: float | None


def vote(answers: Sequence[str | None]) -> Vote:
    """Count final answers that say the same.

    >>> vote(["15 euros", None, "16", "15"])
    Vote(winner=0, votes=3, agreement=0.6666666666666666)
    """
    keys = [None if answer is None else answer_key(answer) for answer in answers]
    counts = Counter(key for key in keys if key is not None)
    if not counts:
        return Vote(None, 0, None)
    key, most = counts.most_common(1)[0]
    votes = counts.total()
    return Vote(keys.index(key), votes, most / votes)


def vote_for(answer: str | None, answers: Sequence[str | None]) -> float | None:
    """The share of the votes that an answer has; null where nobody votes, or it is null."""
    keys = [answer_key(one) for one in answers if one is not None]
    if answer is None or not keys:
        return None
    return keys.count(answer_key(answer)) / len(keys)
