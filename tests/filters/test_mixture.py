from collections import Counter
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mixture import Method, drawn, mixture, rates

SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 60), min_size=1)
FIVE = {"a": 100, "b": 1_000, "c": 10_000, "d": 100_000, "e": 1_000_000}


def columns(sizes: dict[str, int]) -> tuple[pl.Series, pl.Series]:
    names = [name for name, size in sizes.items() for _ in range(size)]
    return pl.Series([f"r{at}" for at in range(len(names))]), pl.Series(names, dtype=pl.String)


def found(sizes: dict[str, int], **chosen: object) -> dict[str, int]:
    row_id, data_set = columns(sizes)
    judged = mixture(row_id, data_set, **chosen)  # type: ignore[arg-type]
    counts: Counter[str] = Counter()
    for name, reason, copies in zip(data_set, judged["reason"], judged["copies"], strict=True):
        counts[name] += copies
        assert (reason is None) == (copies > 0)
    return dict(counts)


@given(sizes=SIZES, cap=st.none() | st.integers(1, 60), count=st.none() | st.integers(1, 300))
def test_no_set_is_off_by_a_row_and_no_cap_is_passed(
    sizes: dict[str, int], cap: int | None, count: int | None
) -> None:
    shares = rates(sizes, method="proportional", cap=cap)
    rows = found(sizes, cap=cap, count=count)
    total = sum(rows.values())
    fits = [min(size, cap or size) for size in sizes.values()]
    assert total == min(count or sum(fits), sum(fits))
    for name, size in sizes.items():
        assert abs(rows[name] - total * shares[name]) < 1
        assert rows[name] <= min(size, cap or size)


@given(
    sizes=SIZES,
    drawn_weights=st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any),
    count=st.none() | st.integers(1, 300),
)
def test_weights_hold_and_no_larger_mixture_would(
    sizes: dict[str, int], drawn_weights: list[int], count: int | None
) -> None:
    weights = dict(zip("abcde", drawn_weights, strict=True))
    weights = {name: weights[name] for name in sizes}
    if not any(weights.values()):
        return
    rows = found(sizes, method="weights", weights=weights, count=count)
    total, whole = sum(rows.values()), sum(weights.values())
    for name, size in sizes.items():
        assert abs(rows[name] - Fraction(total * weights[name], whole)) < 1
        assert rows[name] <= size
    more = total + 1  # the slowest search: the next larger one asks more of a set than it has
    is_too_many = any(more * weights[name] > size * whole for name, size in sizes.items())
    assert total == count or is_too_many


@given(sizes=SIZES, count=st.integers(1, 300))
def test_with_repeats_every_count_is_reached_and_copies_are_even(
    sizes: dict[str, int], count: int
) -> None:
    row_id, data_set = columns(sizes)
    weights: dict[str, float] = dict.fromkeys(sizes, 1)
    judged = mixture(
        row_id, data_set, method="weights", weights=weights, count=count, repeat=True
    ).with_columns(data_set)
    assert judged["copies"].sum() == count
    spread = judged.group_by(data_set.name or "").agg(
        pl.col("copies").max() - pl.col("copies").min()
    )
    assert spread["copies"].max() <= 1  # type: ignore[operator]


@given(sizes=SIZES, seed=st.integers(0, 99), data=st.data())
def test_the_seed_decides_and_not_the_order_of_the_rows(
    sizes: dict[str, int], seed: int, data: st.DataObject
) -> None:
    row_id, data_set = columns(sizes)
    order = data.draw(st.permutations(range(len(row_id))))
    count = max(1, len(row_id) // 2)
    one = mixture(row_id, data_set, count=count, seed=seed).with_columns(row_id.alias("id"))
    other = mixture(row_id.gather(order), data_set.gather(order), count=count, seed=seed)
    other = other.with_columns(row_id.gather(order).alias("id"))
    assert one.sort("id").equals(other.sort("id"))


def test_another_seed_draws_other_rows() -> None:
    row_id, data_set = columns({"a": 50, "b": 50})
    one, same, other = (
        mixture(row_id, data_set, count=40, seed=seed)["copies"].to_list() for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({"method": "proportional"}, FIVE),
        ({"method": "proportional", "cap": 50_000},
         {"a": 100, "b": 1_000, "c": 10_000, "d": 50_000, "e": 50_000}),
        ({"method": "weights", "weights": dict(zip("abcde", (1, 2, 3, 4, 10), strict=True))},
         {"a": 1, "b": 2, "c": 3, "d": 4, "e": 10}),
        ({"method": "temperature", "temperature": 2.0},
         {name: size**0.5 for name, size in FIVE.items()}),
        ({"method": "temperature", "temperature": 3.0, "cap": 20_000},
         {name: min(size, 20_000) ** (1 / 3) for name, size in FIVE.items()}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [None, 100_000])
def test_shares_of_five_sets_are_within_half_a_percent(
    chosen: dict[str, object], wanted: dict[str, float], count: int | None
) -> None:
    shares = rates(FIVE, **{key: chosen[key] for key in chosen})  # type: ignore[arg-type]
    cap = chosen.get("cap")
    rows = drawn(FIVE, shares, cap=cap, count=count)  # type: ignore[arg-type]
    whole, total = sum(wanted.values()), sum(rows.values())
    for name, size in FIVE.items():
        assert abs(rows[name] / total - wanted[name] / whole) < 0.005
        assert rows[name] <= min(size, cap or size)  # type: ignore[call-overload]


def test_a_temperature_of_one_is_proportional_and_a_high_one_even() -> None:
    plain = rates(FIVE, method="proportional")
    assert rates(FIVE, method="temperature", temperature=1.0) == plain
    even = rates(FIVE, method="temperature", temperature=1e9)
    assert all(abs(share - Fraction(1, 5)) < 1e-6 for share in even.values())


@pytest.mark.parametrize(
    ("weights", "says"),
    [({"a": 1}, "no weight is given for b"), ({"a": 1, "b": 1, "c": 1}, "there is no set c"),
     ({"a": 1, "c": 1}, "no weight is given for b.*; there is no set c; there are a, b"),
     ({"a": 0, "b": 0}, "all weights are 0")],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused(weights: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        found({"a": 2, "b": 2}, method="weights", weights=weights)


def test_a_weight_of_0_needs_no_row() -> None:
    weights: dict[str, float] = {"a": 1, "b": 1}
    assert found({"a": 2, "b": 2}, method="weights", weights=weights | {"c": 0}) == found(
        {"a": 2, "b": 2}, method="weights", weights=weights
    )


def test_repeats_without_an_end_are_refused() -> None:
    with pytest.raises(ValueError, match="neither a count nor a cap"):
        found({"a": 2}, repeat=True)


def test_a_set_of_weight_nought_is_left_out_and_rows_of_no_set_are_one() -> None:
    row_id = pl.Series(["r0", "r1", "r2"])
    judged = mixture(
        row_id, pl.Series(["a", None, "b"]), method="weights",
        weights={"a": 1, "no set": 1, "b": 0},
    )  # fmt: skip
    assert judged["reason"].to_list() == [None, None, "not_drawn"]
    assert judged["detail"].to_list() == [None, None, "b: 0 of 1 rows, share 0.0000"]


@pytest.mark.parametrize("method", ["proportional", "temperature", "weights"])
def test_no_rows_make_no_mixture(method: Method) -> None:
    none = pl.Series([], dtype=pl.String)
    judged = mixture(none, none, method=method, weights={"a": 1}, count=5)
    assert judged.height == 0
    assert judged.columns == ["reason", "detail", "copies"]
