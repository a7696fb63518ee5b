"""A leaderboard from comparisons of two at a time: Bradley-Terry strengths on the Elo scale.

Source: Bradley and Terry 1952, "Rank analysis of incomplete block designs": one beats another with
odds of exp of the difference of their strengths. The strengths of the greatest likelihood are found
by `choix` (Maystre and Grossglauser 2015, arXiv:1506.03379). 400 points are odds of ten to one, and
the mean is 1000, as in chess; unlike Elo's own updates the order of the comparisons means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import RecipeError
from pipeline.extras import pip_line

PACKAGE = "choix"
MISSING = f"a leaderboard of more than two answers needs choix: {pip_line('elo')}."
PRIOR = 0.5
"""Wins of each over each other that are counted beside the real ones: one more tie a pair. Who won
all comparisons, or was never compared with some, has a finite rating by it; among hundreds of
comparisons it moves a rating by a few points, towards the mean."""
ROUNDS = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One comparison: the two that were compared, and which won, null for a tie."""

    first: str
    second: str
    winner: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """One place of a leaderboard: the rating and the comparisons that it comes from."""

    name: str
    rating: float
    won: int
    tied: int
    lost: int

    @property
    def comparisons(self) -> int:
        """How many it was in."""
        return self.won + self.tied + self.lost


def leaderboard(outcomes: Iterable[Outcome]) -> list[Standing]:
    """Everybody who was compared, best first; a tie is half a win for each, equal names by name.

    Raises `RecipeError` where `choix` is not installed.
    """
    found = list(outcomes)
    names = sorted({name for one in found for name in (one.first, one.second)})
    if not names:
        return []
    place = {name: at for at, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    ties = np.zeros_like(wins)
    for one in found:
        pair = place[one.first], place[one.second]
        if one.winner is None:
            ties[pair] += 1
            ties[pair[::-1]] += 1
        else:
            wins[pair if one.winner == one.first else pair[::-1]] += 1
    standings = [
        Standing(name, rating, *(int(table[at].sum()) for table in (wins, ties, wins.T)))
        for at, (name, rating) in enumerate(zip(names, _ratings(wins + ties / 2), strict=True))
    ]
    return sorted(standings, key=lambda one: (-one.rating, one.name))


def _ratings(points: np.ndarray) -> Sequence[float]:
    """The rating of each, to a tenth, from the points that each made against each."""
    try:
        import choix
    except ImportError as error:
        raise RecipeError(MISSING) from error
    prior = PRIOR * (1 - np.eye(len(points)))
    strengths = choix.ilsr_pairwise_dense(points + prior, max_iter=ROUNDS)
    return [
        round(1000 + 400 * float(one) / math.log(10), 1) for one in strengths - strengths.mean()
    ]
