"""Drafting: which tasks are shown, what is read from a reply, what the heuristics say."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Drop, Pool, Reply
from pipeline.stages import bootstrap
from pipeline.stages.bootstrap import Config

SEEDS = [(f"seed_{n}", f"Name {n} rivers.") for n in range(30)]
CONFIG = Config()
ROUGH_TEXT = st.text() | st.lists(
    st.sampled_from(["\n10. ", "\n9. ", "\n", "9.", "Name a river.", "**Title:** do it", "<think>",
                     "</think>", "```", "\n11 . ", " ", "", "\x00", "write a program"]),
    max_size=30,
).map("".join)  # fmt: skip


def pool(n_drafts: int) -> Pool:
    made = Pool(SEEDS)
    for n in range(n_drafts):
        made.add(f"bootstrap-{n:06d}-00", f"Draw {n} maps.", n)
    return made


def kinds(request_shown: tuple[str, ...]) -> tuple[int, int]:
    drafts = sum(shown.startswith("bootstrap") for shown in request_shown)
    return len(request_shown) - drafts, drafts


@pytest.mark.parametrize(
    ("n_drafts", "expected"), [(0, (8, 0)), (1, (7, 1)), (2, (6, 2)), (3, (6, 2)), (40, (6, 2))]
)
def test_six_seed_tasks_and_two_drafts_are_shown_once_there_are_drafts(
    n_drafts: int, expected: tuple[int, int]
) -> None:
    for n in range(20):
        request = bootstrap.ask(pool(n_drafts), n_drafts, CONFIG, Random(n))
        assert kinds(request.shown) == expected
        assert len(set(request.shown)) == 8


def test_only_the_first_drafts_count_however_many_there_are() -> None:
    full, early = pool(40), pool(5)
    for n in range(20):
        assert bootstrap.ask(full, 5, CONFIG, Random(n)) == bootstrap.ask(
            early, 5, CONFIG, Random(n)
        )


def test_the_prompt_numbers_what_is_shown_and_asks_for_seven_more() -> None:
    request = bootstrap.ask(pool(5), 5, CONFIG, Random(1))
    assert request.template == "bootstrap"
    assert (request.values["first"], request.values["last"]) == (9, 15)
    by_id = dict(SEEDS) | {f"bootstrap-{n:06d}-00": f"Draw {n} maps." for n in range(5)}
    assert list(request.values["tasks"]) == [by_id[shown] for shown in request.shown]


def test_seeds_and_drafts_are_shuffled_together_and_all_of_them_come_up() -> None:
    requests = [bootstrap.ask(pool(10), 10, CONFIG, Random(n)) for n in range(300)]
    places = {n for r in requests for n, shown in enumerate(r.shown) if shown.startswith("boot")}
    assert places == set(range(8))
    assert {shown for request in requests for shown in request.shown} == {
        *(row_id for row_id, _ in SEEDS),
        *(f"bootstrap-{n:06d}-00" for n in range(10)),
    }


@pytest.mark.parametrize(("demonstrations", "from_drafts"), [(1, 0), (3, 2), (30, 0), (4, 3)])
def test_other_numbers_of_demonstrations_are_kept_to(demonstrations: int, from_drafts: int) -> None:
    config = Config(demonstrations=demonstrations, from_drafts=from_drafts)
    request = bootstrap.ask(pool(9), 9, config, Random(1))
    assert kinds(request.shown)[1] == min(from_drafts, demonstrations)
    assert len(request.shown) == demonstrations


def test_a_prompt_without_a_seed_task_is_refused() -> None:
    with pytest.raises(ValueError, match="below demonstrations"):
        Config(demonstrations=4, from_drafts=4)


def test_the_pool_remembers_how_large_it_was_after_each_slot() -> None:
    made = Pool(SEEDS)
    for slot, n in ((0, 2), (3, 1), (4, 3)):
        for item in range(n):
            made.add(f"b-{slot}-{item}", "x", slot)
    assert [made.drafts_at(slot) for slot in range(-8, 6)] == [0] * 8 + [2, 2, 2, 3, 6, 6]


def test_a_reply_is_one_entry_an_item() -> None:
    text = (
        " Name a lake.\n10. Say which is larger:\n  a lake or a sea.\n11. **Maths:** Add 2 and 2."
    )
    assert bootstrap.read(Reply(text), CONFIG) == [
        {"instruction": "Name a lake."},
        {"instruction": "Say which is larger: a lake or a sea."},
        {"instruction": "Add 2 and 2."},
    ]


def test_thoughts_and_fences_are_no_items() -> None:
    text = "<think>9. Not this.\n10. Nor this.</think>\n```\n9. Name a lake.\n10. Name a sea.\n```"
    found = bootstrap.read(Reply(text), CONFIG)
    assert found == [{"instruction": "Name a lake."}, {"instruction": "Name a sea."}]


@pytest.mark.parametrize("finish", ["length", "unknown", "content_filter"])
def test_the_last_item_of_a_cut_off_reply_is_dropped_with_what_there_is_of_it(finish: str) -> None:
    found = bootstrap.read(Reply(" Name a lake.\n10. Name a s", finish), CONFIG)
    assert found == [
        {"instruction": "Name a lake."},
        Drop("item_cut_off", finish, row={"instruction": "Name a s"}),
    ]


def test_an_empty_item_is_named() -> None:
    assert bootstrap.read(Reply(" Name a lake.\n10. \n11. Name a sea."), CONFIG)[1] == Drop(
        "empty_item"
    )


@pytest.mark.parametrize(("items", "beyond"), [(7, 0), (8, 1), (12, 5)])
def test_items_beyond_the_list_are_dropped(items: int, beyond: int) -> None:
    text = "".join(f"\n{9 + n}. Name lake {n}." for n in range(items))
    found = bootstrap.read(Reply(text), CONFIG)
    assert len(found) == items
    drops = [entry for entry in found if isinstance(entry, Drop)]
    assert [drop.reason for drop in drops] == ["beyond_the_list"] * beyond
    assert all(drop.row["instruction"].startswith("Name lake") for drop in drops)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Name three rivers now.", None),
        ("Name three rivers.", "too_few_words"),
        ("Name " + "very " * 148 + "rivers.", None),
        ("Name " + "very " * 149 + "rivers.", "too_many_words"),
    ],
)
def test_both_sides_of_the_length_rule(instruction: str, reason: str | None) -> None:
    (found,) = bootstrap.judge([instruction], CONFIG)
    assert (found and found.reason) == reason


def test_the_first_rule_that_meets_an_item_names_it() -> None:
    found = bootstrap.judge(
        ["!x", "Draw an image of three rivers.", "(do this) now, please, sir"], CONFIG
    )
    assert found[0] is not None
    assert found[0].reason == "too_few_words"
    assert len({drop.reason for drop in found if drop is not None}) == 3


def test_the_window_grows_with_the_target_between_its_bounds() -> None:
    sizes = [Config(target=target).resolved_window() for target in (1, 320, 321, 1000, 10**6)]
    assert sizes == [8, 8, 9, 25, 4096]
    assert Config(target=10**6, window=5).resolved_window() == 5


@given(ROUGH_TEXT, st.sampled_from(["stop", "length", "unknown"]), st.integers(1, 9))
def test_any_reply_gives_named_entries_and_one_verdict_an_item(
    text: str, finish: str, new_tasks: int
) -> None:
    config = Config(new_tasks=new_tasks)
    entries = bootstrap.read(Reply(text, finish), config)
    kept = [entry["instruction"] for entry in entries if not isinstance(entry, Drop)]
    assert all(kept)
    assert len(kept) <= new_tasks
    assert all(entry.reason for entry in entries if isinstance(entry, Drop))
    verdicts = bootstrap.judge(kept, config)
    assert len(verdicts) == len(kept)
    assert all(verdict is None or verdict.reason for verdict in verdicts)
    assert bootstrap.read(Reply(text, finish), config) == entries


@given(st.lists(st.sampled_from(["Name a lake.", "Add two and two.", ""]), min_size=1, max_size=12))
def test_a_list_that_is_written_is_read_item_by_item(items: list[str]) -> None:
    text = " " + "".join(f"\n{9 + n}. {item}" for n, item in enumerate(items)).removeprefix("\n9. ")
    entries = bootstrap.read(Reply(text), CONFIG)
    assert len(entries) == len(items)


@given(st.lists(ROUGH_TEXT, max_size=12))
def test_every_item_has_a_verdict_of_its_own(items: list[str]) -> None:
    together = bootstrap.judge(items, CONFIG)
    assert together == [bootstrap.judge([item], CONFIG)[0] for item in items]
