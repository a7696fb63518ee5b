"""How many rows of each data set make a mixture, and which.

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning" (T5, arXiv:1910.10683),
section 3.5.2: examples-proportional mixing with a cap, and temperature-scaled mixing, whose rates
are those to the power of 1/T, set to 1 again. There a cap bounds what counts of a set, and a set
may still be read on; here no more than that of a set is in the mixture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Literal

import numpy as np
import polars as pl

from filters.draw import lot

Method = Literal["proportional", "weights", "temperature"]
NO_SET = "no set"  # what rows of no set are called together


def mixture(
    row_id: pl.Series,
    data_set: pl.Series,
    *,
    method: Method = "proportional",
    cap: int | None = None,
    weights: Mapping[str, float] | None = None,
    temperature: float = 1.0,
    count: int | None = None,
    repeat: bool = False,
    seed: int = 0,
) -> pl.DataFrame:
    """Draw rows of each `data_set` so that it has the share that `method` says.

    See `rates` for the shares and `drawn` for how many rows they are; the rows are drawn by a hash
    of `seed` and `row_id`, whatever the order of the rows. Returns one row an entry, in order:
    `reason` (String, `not_drawn`, null where the row is kept), `detail` (String: the numbers of its
    set) and `copies` (Int64: how many times the row stands in the mixture: 1 unless rows repeat, 0
    where it is dropped). Raises `ValueError` for weights that do not fit the sets.
    """
    names = data_set.cast(pl.String).fill_null(NO_SET)
    groups = pl.DataFrame({"name": names}).with_row_index("row").group_by("name").agg("row")
    rows = {name: np.array(places, np.int64) for name, places in groups.sort("name").rows()}
    sizes = {name: len(places) for name, places in rows.items()}
    shares = rates(sizes, method=method, cap=cap, weights=weights, temperature=temperature)
    wanted = drawn(sizes, shares, cap=cap, count=count, repeat=repeat)
    ids = row_id.cast(pl.String).to_numpy()
    copies = np.zeros(len(names), np.int64)
    said: dict[str, str] = {}
    for name, places in rows.items():
        each, more = divmod(wanted[name], sizes[name])
        copies[places] = each
        if more:
            copies[places[_shuffled(ids[places], seed)[:more]]] += 1
        said[name] = (
            f"{name}: {wanted[name]} of {sizes[name]} rows, share {float(shares[name]):.4f}"
        )
    is_dropped = pl.Series(copies == 0)
    frame = pl.DataFrame({"copies": copies, "is_dropped": is_dropped, "name": names})
    detail = pl.col("name").replace_strict(said, return_dtype=pl.String)
    return frame.select(
        reason=pl.when("is_dropped").then(pl.lit("not_drawn")),
        detail=pl.when("is_dropped").then(detail),
        copies="copies",
    )


def rates(
    sizes: Mapping[str, int],
    *,
    method: Method,
    cap: int | None = None,
    weights: Mapping[str, float] | None = None,
    temperature: float = 1.0,
) -> dict[str, Fraction]:
    """The share of each set, exact, 1 together.

    `proportional` is to the rows of a set, of which no more than `cap` count; `temperature` is that
    to the power of 1 / `temperature`, 1 the same and higher ever more even; `weights` are the
    shares themselves, in any unit. Raises `ValueError` where a set has no weight, or a weight no
    set, and where all weights are 0.

    >>> rates({"a": 100, "b": 900}, method="proportional", cap=300)
    {'a': Fraction(1, 4), 'b': Fraction(3, 4)}
    """
    if not sizes:
        return {}
    if method == "weights":
        named = weights or {}
        check_weights(named, sizes)
        parts = {name: Fraction(str(named[name])) for name in sizes}
    else:
        parts = {name: Fraction(min(size, cap or size)) for name, size in sizes.items()}
        if method == "temperature":
            parts = {
                name: Fraction(float(part) ** (1 / temperature)) for name, part in parts.items()
            }
    whole = sum(parts.values())
    if not whole:
        raise ValueError("all weights are 0: nothing would be left")
    return {name: part / whole for name, part in parts.items()}


def check_weights(weights: Mapping[str, float], sets: Collection[str]) -> None:
    """Raise one `ValueError` that says which sets have no weight, and which weights no set.

    A weight of 0 needs no set: none of its rows may be left.
    """
    wrong = []
    if missing := sorted(set(sets) - weights.keys()):
        wrong.append(f"no weight is given for {', '.join(missing)}: 0 leaves a set out")
    if strange := sorted(name for name in weights.keys() - set(sets) if weights[name]):
        wrong.append(f"there is no set {', '.join(strange)}; there are {', '.join(sets)}")
    if wrong:
        raise ValueError("; ".join(wrong))


def drawn(
    sizes: Mapping[str, int],
    shares: Mapping[str, Fraction],
    *,
    cap: int | None = None,
    count: int | None = None,
    repeat: bool = False,
) -> dict[str, int]:
    """How many rows of each set make a mixture of `count`, or of as many as there are.

    Shares hold: where a set has too few rows, or its cap is too low, the mixture is as much smaller
    for all; with `repeat` only caps bound it. Rounded by largest remainder, so that no set is off
    by a row. Raises `ValueError` for `repeat` without a count or a cap, which has no end.

    >>> drawn({"a": 10, "b": 90}, {"a": Fraction(1, 2), "b": Fraction(1, 2)})
    {'a': 10, 'b': 10}
    """
    most = {
        name: cap if repeat else min(size, cap if cap is not None else size)
        for name, size in sizes.items()
    }
    bounds = [
        Fraction(bound) / shares[name]
        for name, bound in most.items()
        if bound is not None and shares[name]
    ]
    if count is not None:
        bounds.append(Fraction(count))
    if sizes and not bounds:
        raise ValueError("rows may repeat, and neither a count nor a cap says how often")
    total = int(min(bounds)) if sizes else 0
    whole = {name: int(total * share) for name, share in shares.items()}
    rest = sorted(shares, key=lambda name: (whole[name] - total * shares[name], name))
    for name in rest[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def _shuffled(ids: np.ndarray, seed: int) -> np.ndarray:
    """The places of the ids in the order of a hash."""
    digests = [lot(seed, one) for one in ids.tolist()]
    halves = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
    order: np.ndarray = np.lexsort((halves[:, 1], halves[:, 0]))
    return order
