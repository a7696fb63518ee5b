"""Win rates, as they are and for equal length: made data with known answers."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.win_rate import length_controlled, standard_error, win_rate

POINTS = st.sampled_from([0.0, 0.5, 1.0])
ROWS = st.lists(st.tuples(POINTS, st.integers(-500, 500)), min_size=2, max_size=30)


def drawn(theta: float, phi: float, n: int) -> tuple[list[float], list[int]]:
    """Rows of a judge with a known taste; half of the answers are 100 characters longer."""
    rng = Random(7)
    longer = [rng.choice((-100, 300)) for _ in range(n)]
    mean = sum(longer) / n
    spread = math.sqrt(sum((one - mean) ** 2 for one in longer) / n)
    chances = [1 / (1 + math.exp(-theta - phi * math.tanh(one / spread))) for one in longer]
    return [float(rng.random() < chance) for chance in chances], longer


@pytest.mark.parametrize(("theta", "phi"), [(0.0, 1.5), (0.7, 0.0), (-0.5, 2.0), (1.0, -1.0)])
def test_the_taste_for_length_is_taken_out(theta: float, phi: float) -> None:
    points, longer = drawn(theta, phi, 20_000)
    assert length_controlled(points, longer) == pytest.approx(1 / (1 + math.exp(-theta)), abs=0.015)


def test_a_judge_that_only_counts_characters_prefers_nobody() -> None:
    longer = [50, 120, 80, -60, -100, 90, 70, -90] * 20
    points = [float(one > 0) for one in longer]
    assert win_rate(points) == 0.625
    assert abs(length_controlled(points, longer) - 0.5) < 0.12


@given(st.lists(POINTS, min_size=1, max_size=30), st.integers(-9, 9))
def test_where_all_are_equally_long_it_is_the_plain_rate(points: list[float], by: int) -> None:
    assert length_controlled(points, [by] * len(points)) == win_rate(points)


@pytest.mark.parametrize("all_of", [0.0, 1.0])
def test_who_wins_all_or_nothing_does_so_at_any_length(all_of: float) -> None:
    assert length_controlled([all_of] * 3, [5, -80, 7]) == all_of


@settings(max_examples=50)
@given(ROWS)
def test_whoever_is_first_both_rates_add_up_to_one(rows: list[tuple[float, int]]) -> None:
    points, longer = [one for one, _ in rows], [by for _, by in rows]
    turned = length_controlled([1 - one for one in points], [-by for by in longer])
    assert length_controlled(points, longer) + turned == pytest.approx(1, abs=1e-6)


@settings(max_examples=25)
@given(ROWS)
def test_no_other_pair_of_weights_is_more_likely(rows: list[tuple[float, int]]) -> None:
    """Against a search of theta and phi in ever smaller steps."""
    points, longer = [one for one, _ in rows], [by for _, by in rows]
    spread = standard_deviation(longer)
    if spread == 0 or set(points) in ({0.0}, {1.0}):
        return
    at, step = (0.0, 0.0), 8.0
    while step > 1e-7:
        near = [(at[0] + a * step, at[1] + b * step) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        best = max(near, key=lambda one: likelihood(one, points, longer, spread))
        if likelihood(best, points, longer, spread) <= likelihood(at, points, longer, spread):
            step /= 2
        at = max((at, best), key=lambda one: likelihood(one, points, longer, spread))
    expected = 1 / (1 + math.exp(-at[0]))
    assert length_controlled(points, longer) == pytest.approx(expected, abs=1e-4)


def standard_deviation(values: list[int]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((one - mean) ** 2 for one in values) / len(values))


def likelihood(
    at: tuple[float, float], points: list[float], longer: list[int], spread: float
) -> float:
    total = -(at[1] ** 2) / 2
    for point, by in zip(points, longer, strict=True):
        z = at[0] + at[1] * math.tanh(by / spread)
        total += point * z - (math.log1p(math.exp(-abs(z))) + max(z, 0))
    return total


def test_the_standard_error_by_hand() -> None:
    assert standard_error([0.0, 1.0]) == pytest.approx(0.5)
    assert standard_error([1.0]) is None
