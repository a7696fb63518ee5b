"""How often a judge prefers one model's answers, as it is and for answers of equal length.

Length-controlled win rates are those of AlpacaEval 2 (Dubois et al. 2024, "Length-Controlled
AlpacaEval", arXiv:2404.04475), whose regression is

    logit P(A wins row i) = theta + phi * tanh(d_i / s)

with d_i the characters of A's answer less those of B's, and s their standard deviation over the
rows; a tie is half a win. The rate for equal length is P at d = 0: 1 / (1 + exp(-theta)). Where we
differ: their term for how hard each instruction is needs many models on one set of instructions,
and there are two here, so it is left out; phi has a standard normal prior (a ridge of 1/2 phi^2),
so that it stays finite where length tells every verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

ROUNDS = 200
CLOSE = 1e-10


def win_rate(points: Sequence[float]) -> float:
    """The mean of the points of the rows: 1 for a win, 1/2 for a tie, 0 for a loss."""
    return sum(points) / len(points)


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean of values; null for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)


def length_controlled(points: Sequence[float], longer_by: Sequence[int]) -> float:
    """The win rate for answers of equal length; `longer_by` are the d_i of the rows.

    It is the plain rate where all answers are equally long, or where all points are equal to 0, or
    to 1: the best theta is then without bounds.
    """
    y, d = np.asarray(points, dtype=float), np.asarray(longer_by, dtype=float)
    spread = float(d.std())
    if spread == 0 or (y == 0).all() or (y == 1).all():
        return win_rate(points)
    x = np.column_stack([np.ones_like(d), np.tanh(d / spread)])
    ridge = np.diag([0.0, 1.0])
    weights = np.zeros(2)
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-(x @ weights)))
        slope = x.T @ (y - p) - ridge @ weights
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, slope)
        size = 1.0
        while size > CLOSE and _likelihood(x, y, weights + size * step) < _likelihood(
            x, y, weights
        ):
            size /= 2
        weights = weights + size * step
        if float(np.abs(size * step).max()) < CLOSE:
            break
    return float(1 / (1 + math.exp(-weights[0])))


def _likelihood(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    z = x @ weights
    return float((y * z - np.logaddexp(0, z)).sum() - weights[1] ** 2 / 2)
