"""A vote: what most samples come to, whatever their order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.final_answer import answer_key
from pipeline.stages.votes import Vote, vote, vote_for

ANSWERS = st.lists(st.sampled_from(["15", "15 euros", "16", "yes", "Yes.", None]), max_size=12)


def test_the_answer_that_most_come_to_wins() -> None:
    assert vote(["16", "15 euros", "15"]) == Vote(1, 3, 2 / 3)


def test_of_a_tie_the_answer_that_came_first_wins() -> None:
    assert vote(["no", "yes", "yes", "no"]) == Vote(0, 4, 0.5)


def test_a_sample_without_an_answer_does_not_vote() -> None:
    assert vote([None, "7", None]) == Vote(1, 1, 1.0)
    assert vote([None, None]) == Vote(None, 0, None)
    assert vote([]) == Vote(None, 0, None)


def test_an_answer_that_lost_has_its_own_share() -> None:
    assert vote_for("16", ["16", "15", None, "15"]) == 1 / 3
    assert vote_for(None, ["16"]) is None
    assert vote_for("16", [None]) is None


@given(ANSWERS)
def test_the_vote_is_the_count_done_slowly(answers: list[str | None]) -> None:
    found = vote(answers)
    keys = [answer_key(answer) for answer in answers if answer is not None]
    assert found.votes == len(keys)
    if found.winner is None:
        assert not keys
        return
    winner = answers[found.winner]
    assert winner is not None
    most = max(Counter(keys).values())
    assert keys.count(answer_key(winner)) == most
    assert found.agreement == most / len(keys)
    assert found.agreement == vote_for(winner, answers)


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_no_number(answers: list[str | None], rng: object) -> None:
    shuffled = list(answers)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = vote(answers), vote(shuffled)
    assert (one.votes, one.agreement) == (other.votes, other.agreement)


@given(ANSWERS)
def test_one_more_vote_for_the_winner_leaves_it_the_winner(answers: list[str | None]) -> None:
    before = vote(answers)
    if before.winner is None or before.agreement is None:
        return
    after = vote([*answers, answers[before.winner]])
    assert after.winner == before.winner
    assert after.agreement is not None
    assert after.agreement >= before.agreement


@given(ANSWERS)
def test_samples_without_an_answer_change_no_vote(answers: list[str | None]) -> None:
    voting = [answer for answer in answers if answer is not None]
    one, other = vote(answers), vote(voting)
    assert (one.votes, one.agreement) == (other.votes, other.agreement)
