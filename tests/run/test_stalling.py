"""A stage that drafts is stopped where hardly anything new comes, and never while it is well."""

from random import Random

import pytest

from pipeline.run.stalling import BARREN, REPLIES, RecentReplies
from pipeline.stages.drafts import DraftConfig


def replies_until_stalled(kept: int, dropped: list[str], *, barren: bool = False) -> int:
    """How many replies that are all alike it takes; 2,000 where it never comes to that."""
    recent = RecentReplies(DraftConfig())
    for n in range(1, 2_001):
        recent.add(kept, dropped, is_barren=barren)
        if recent.are_stalled():
            return n
    return 2_000


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
    for _ in range(5_000):
        recent.add(4, [], is_barren=False)
        assert not recent.are_stalled()
    n = 0
    while not recent.are_stalled():
        recent.add(0, ["not_novel"] * 3 + ["keyword"], is_barren=False)
        n += 1
    assert REPLIES * 0.98 <= n <= REPLIES
    assert recent.reasons() == f"not_novel {3 * n}, keyword {n}"


def test_one_reply_with_an_item_ends_a_row_of_empty_ones() -> None:
    recent = RecentReplies(DraftConfig())
    for n in range(400):
        recent.add(0, ["no_item"], is_barren=n % BARREN != 0)
        assert not recent.are_stalled()


def test_a_share_at_the_bound_goes_on_and_one_below_it_ends() -> None:
    assert DraftConfig().stall_below == 0.02
    assert replies_until_stalled(1, ["not_novel"] * 49) == 2_000
    assert replies_until_stalled(1, ["not_novel"] * 50) == REPLIES


def test_nobody_is_stopped_where_the_recipe_says_so() -> None:
    recent = RecentReplies(DraftConfig(stall_after=None))
    for _ in range(1_000):
        recent.add(0, ["not_novel"] * 4, is_barren=False)
    assert not recent.are_stalled()


def test_the_three_most_frequent_reasons_are_said_and_one_thing_to_try() -> None:
    recent = RecentReplies(DraftConfig())
    recent.add(0, ["a", "b", "b", "c", "c", "c", *["d"] * 4], is_barren=False)
    assert recent.reasons() == "d 4, c 3, b 2"
    assert "synth show r bootstrap" in recent.suggestion("synth show r bootstrap --dropped")
    recent.add(0, ["not_novel"] * 5, is_barren=False)
    assert "temperature" in recent.suggestion("synth show r bootstrap --dropped")


def test_a_thousand_healthy_runs_are_never_stopped() -> None:
    """From 20 to 90 % are kept, from 1 to 8 items a reply, up to a tenth of the replies empty."""
    n_replies = 0
    for seed in range(1_000):
        rng = Random(seed)
        share, most, empty = rng.uniform(0.2, 0.9), rng.randint(1, 8), rng.uniform(0, 0.1)
        recent = RecentReplies(DraftConfig())
        for _ in range(600):
            n = 0 if rng.random() < empty else rng.randint(1, most)
            kept = sum(rng.random() < share for _ in range(n))
            reasons = ["not_novel"] * (n - kept) if n else ["no_item"]
            recent.add(kept, reasons, is_barren=n == 0)
            n_replies += 1
            assert not recent.are_stalled(), seed
    assert n_replies == 600_000
