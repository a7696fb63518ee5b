"""A stage that drafts is stopped where hardly anything new comes, and never while it is well."""

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from pipeline.run.stalling import BARREN, REPLIES, RecentReplies
from pipeline.stages.drafts import DraftConfig
from pipeline.teacher.ledger import Bought, Ledger, Spend
from pipeline.teacher.settings import Budget, Price


def replies_until_stalled(
    kept: int, dropped: list[str], *, barren: bool = False, **settings: Any
) -> int:
    """How many replies whose items fare alike it takes; 2,000 where it never comes to that."""
    recent = RecentReplies(DraftConfig(**settings))
    for n in range(1, 2_001):
        recent.add(kept, dropped, is_barren=barren, text=f"{n}")
        if recent.sign():
            assert recent.sign() == "stall_below"
            return n
    return 2_000


def capped(**caps: Any) -> Ledger:
    """The books of a run under caps, at a dollar a million tokens of input and 3 of output."""
    price = Price(input=Decimal(1), output=Decimal(3))
    return Ledger(Budget(**caps), {"model": price})


@pytest.mark.parametrize(
    ("dropped", "barren", "expected"),
    [
        (["not_novel"] * 4, False, REPLIES),
        (["not_novel"] * 2, False, 250),  # 500 items
        (["no_item"], True, REPLIES),  # replies without an item need not come to 500
        (["not_novel"], False, 500),
    ],
)
def test_it_takes_200_replies_and_500_items_or_a_hundred_replies_without_one(
    dropped: list[str], barren: bool, expected: int
) -> None:
    assert replies_until_stalled(0, dropped, barren=barren) == expected


def test_a_collapse_is_noticed_within_a_window_whatever_was_kept_before() -> None:
    recent = RecentReplies(DraftConfig())
    for n in range(5_000):
        recent.add(4, [], is_barren=False, text=f"{n}")
        assert not recent.sign()
    n = 0
    while not recent.sign():
        recent.add(0, ["not_novel"] * 3 + ["keyword"], is_barren=False, text=f"{n} more")
        n += 1
    assert REPLIES * 0.98 <= n <= REPLIES
    assert recent.reasons() == f"not_novel {3 * n}, keyword {n}"


def test_one_reply_with_an_item_ends_a_row_of_empty_ones() -> None:
    recent = RecentReplies(DraftConfig())
    for n in range(400):
        recent.add(0, ["no_item"], is_barren=n % BARREN != 0, text=f"{n}")
        assert not recent.sign()


def test_a_share_at_the_bound_goes_on_and_one_below_it_ends() -> None:
    assert DraftConfig().stall_below == 0.02
    assert replies_until_stalled(1, ["not_novel"] * 49) == 2_000
    assert replies_until_stalled(1, ["not_novel"] * 50) == REPLIES


def test_nobody_is_stopped_where_the_recipe_says_so() -> None:
    recent = RecentReplies(DraftConfig(stall_after=None))
    for _ in range(1_000):
        recent.add(0, ["not_novel"] * 4, is_barren=False, text="")
    assert not recent.sign()


def test_the_three_most_frequent_reasons_are_said_and_one_thing_to_try() -> None:
    recent = RecentReplies(DraftConfig())
    recent.add(0, ["a", "b", "b", "c", "c", "c", *["d"] * 4], is_barren=False, text="")
    assert recent.reasons() == "d 4, c 3, b 2"
    assert "synth show r bootstrap" in recent.suggestion("synth show r bootstrap --dropped")
    recent.add(0, ["not_novel"] * 5, is_barren=False, text="")
    assert "temperature" in recent.suggestion("synth show r bootstrap --dropped")


@pytest.mark.parametrize(("distinct", "expected"), [(9, True), (10, False), (11, False)])
def test_replies_that_repeat_one_another_end_it_though_something_was_kept_before(
    distinct: int, expected: bool
) -> None:
    """At 5 % of 200 replies it goes on, below it ends; `stall_below` says nothing here."""
    recent = RecentReplies(DraftConfig(stall_below=0))
    for n in range(1_000):
        text = f"{n % distinct}"
        recent.add(0, ["not_novel"] * 3, is_barren=False, text=text)
        assert (recent.sign() is not None) is (expected and n + 1 >= REPLIES)
    if expected:
        assert recent.sign() == "stall_distinct_below"
        said = recent.said("stall_distinct_below")
        assert said == "got 9 distinct replies among the last 200 (stall_distinct_below is 0.05)"
        assert "temperature" in recent.suggestion("synth show r", "stall_distinct_below")


def test_replies_that_repeat_one_another_do_no_harm_while_rows_are_kept() -> None:
    recent = RecentReplies(DraftConfig(stall_below=0))
    for n in range(2_000):
        recent.add(n % REPLIES == 0, ["not_novel"] * 3, is_barren=False, text="the same")
        assert not recent.sign()


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ({}, None),
        ({"requests": 10_000}, 201),  # 200 are 2 % of it
        ({"requests": 10_050}, 202),
        ({"requests": 1_000}, REPLIES),
        ({"tokens": 1_500_000}, 301),  # 100 tokens each
        ({"usd": "3.00"}, 301),  # 0.0002 dollars each
        ({"usd": "1000", "tokens": 10**9, "requests": 12_500}, 251),  # the tightest counts
    ],
)
def test_what_is_spent_since_a_row_was_kept_ends_it_above_2_percent_of_a_budget(
    caps: dict[str, Any], expected: int | None
) -> None:
    ledger = capped(**caps)
    recent = RecentReplies(DraftConfig(stall_below=0), lambda it: ledger.share("model", it))
    bought = Bought(1, Spend(50, 50))
    for n in range(1, 700):
        recent.add(1, ["keyword"], is_barren=False, text=f"{n}", bought=bought)
        assert not recent.sign(), "rows are kept"
    for n in range(1, 700):
        recent.add(0, ["keyword"] * 3, is_barren=False, text=f"{n} more", bought=bought)
        assert recent.since_kept == n
        if (sign := recent.sign()) is not None:
            assert (sign, n) == ("stall_spend_above", expected)
            assert "2.0% of the budget" in recent.said(sign) or n == REPLIES
            return
    assert expected is None


def test_nothing_is_decided_before_500_items_or_100_replies_without_one() -> None:
    ledger = capped(requests=1_000)
    for is_barren, expected in ((False, 500), (True, REPLIES)):
        recent = RecentReplies(DraftConfig(stall_below=0), lambda it: ledger.share("model", it))
        n = 0
        while not recent.sign():
            recent.add(0, ["keyword"], is_barren=is_barren, text=f"{n}", bought=Bought(1))
            n += 1
        assert (recent.sign(), n) == ("stall_spend_above", expected)


def test_a_reply_is_remembered_no_longer_than_the_window_is() -> None:
    recent = RecentReplies(DraftConfig())
    for n in range(5_000):
        recent.add(2, [], is_barren=False, text=f"{n}" * 1_000)
    assert len(recent._distinct) == len(recent._replies) == 250
    assert all(len(digest) == 8 for digest in recent._distinct)


def test_a_thousand_healthy_runs_are_never_stopped() -> None:
    """From 20 to 90 % are kept, from 1 to 8 items a reply, up to a tenth of the replies empty.

    The budget is that of 600 replies, and up to a fifth of the replies repeat another.
    """
    n_replies = 0
    ledger = capped(requests=600)
    for seed in range(1_000):
        rng = Random(seed)
        share, most, empty = rng.uniform(0.2, 0.9), rng.randint(1, 8), rng.uniform(0, 0.1)
        repeated = rng.uniform(0, 0.2)
        recent = RecentReplies(DraftConfig(), lambda it: ledger.share("model", it))
        for number in range(600):
            n = 0 if rng.random() < empty else rng.randint(1, most)
            kept = sum(rng.random() < share for _ in range(n))
            reasons = ["not_novel"] * (n - kept) if n else ["no_item"]
            text = f"{'repeated' if n == 0 or rng.random() < repeated else number}"
            recent.add(kept, reasons, is_barren=n == 0, text=text, bought=Bought(1))
            n_replies += 1
            assert not recent.sign(), seed
    assert n_replies == 600_000
