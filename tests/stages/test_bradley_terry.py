"""A leaderboard from comparisons: known strengths come back, and nothing is infinite."""

import math
import sys
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.stages.bradley_terry import PRIOR, Outcome, leaderboard

pytest.importorskip("choix", reason="needs the extra 'elo'")

OUTCOMES = st.lists(
    st.tuples(st.permutations("abcde"), st.integers(0, 2)).map(
        lambda drawn: Outcome(drawn[0][0], drawn[0][1], [None, *drawn[0][:2]][drawn[1]])
    ),
    min_size=1,
    max_size=60,
)


def chance(one: float, other: float) -> float:
    """How likely the first beats the second, by their ratings: the definition of the Elo scale."""
    return 1 / (1 + 10 ** ((other - one) / 400))


def test_known_strengths_come_back() -> None:
    true = {"weak": 800.0, "fair": 950.0, "good": 1050.0, "best": 1200.0}
    rng = Random(7)
    drawn = [
        Outcome(one, other, one if rng.random() < chance(true[one], true[other]) else other)
        for one, other in combinations(true, 2)
        for _ in range(4000)
    ]
    found = leaderboard(drawn)
    assert [one.name for one in found] == ["best", "good", "fair", "weak"]
    for one in found:
        assert one.rating == pytest.approx(true[one.name], abs=15)
        assert one.comparisons == 12_000


@given(OUTCOMES)
def test_everybody_is_expected_to_make_the_points_that_they_made(outcomes: list[Outcome]) -> None:
    """The equations of the greatest likelihood, from the definition, prior included."""
    found = leaderboard(outcomes)
    ratings = {one.name: one.rating for one in found}
    assert sum(ratings.values()) / len(ratings) == pytest.approx(1000, abs=0.1)
    for standing in found:
        others = ratings.keys() - {standing.name}
        made = sum(
            0.5 if one.winner is None else float(one.winner == standing.name)
            for one in outcomes
            if standing.name in (one.first, one.second)
        )
        expected = sum(
            chance(ratings[standing.name], ratings[_other(one, standing.name)])
            for one in outcomes
            if standing.name in (one.first, one.second)
        )
        made += PRIOR * len(others)
        expected += sum(2 * PRIOR * chance(ratings[standing.name], ratings[o]) for o in others)
        assert made == pytest.approx(expected, abs=0.05)  # ratings are told to a tenth
        assert standing.won + standing.tied / 2 + PRIOR * len(others) == pytest.approx(made)


def _other(one: Outcome, name: str) -> str:
    return one.second if one.first == name else one.first


def test_equals_have_equal_ratings() -> None:
    same = [Outcome("a", "b", None), Outcome("a", "c", "a"), Outcome("b", "c", "b")]
    first, second, third = leaderboard(same * 20)
    assert first.rating == second.rating > third.rating
    assert (first.name, second.name) == ("a", "b")
    assert {one.rating for one in leaderboard([Outcome("a", "b", None)] * 3)} == {1000.0}


def test_who_wins_everything_and_who_met_nobody_in_common_have_finite_ratings() -> None:
    always = [Outcome(one, other, one) for one, other in combinations("abc", 2)] * 1000
    found = leaderboard(always)
    assert [one.name for one in found] == ["a", "b", "c"]
    assert all(math.isfinite(one.rating) and abs(one.rating) < 5000 for one in found)
    apart = [Outcome("a", "b", "a"), Outcome("c", "d", None)] * 50
    ratings = {one.name: one.rating for one in leaderboard(apart)}
    assert ratings["a"] > ratings["c"] == ratings["d"] > ratings["b"]


def test_the_order_of_comparisons_and_of_their_sides_means_nothing() -> None:
    rng = Random(3)
    outcomes = [Outcome(*pair, rng.choice(pair)) for pair in combinations("abcd", 2)] * 5
    turned = [Outcome(one.second, one.first, one.winner) for one in outcomes]
    rng.shuffle(turned)
    assert leaderboard(turned) == leaderboard(outcomes)
    assert leaderboard([]) == []


def test_without_the_package_the_line_to_install_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "choix", None)
    with pytest.raises(RecipeError, match=r"pip install '\.\[elo\]'"):
        leaderboard([Outcome("a", "b", "a")])
