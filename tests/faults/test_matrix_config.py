"""Row 47, what costs money: no price, no bound. The rest is in tests/run/test_bad_input.py."""

from pathlib import Path

import pytest

from tests.faults import matrix
from tests.run import test_bad_input as bad_input
from tests.teacher_server.process import Server


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["budget.usd=1"], "price of test-model is not known"),
        (["budget.usd=1", "prices={other: {input: 1, output: 1}}"], "price of test-model"),
        (["budget.tokens=9999", "classify.sampling.max_tokens=null"], "classify.sampling.max_t"),
    ],
)
def test_a_cap_that_could_not_hold_is_refused_before_any_request(
    server: Server, tmp_path: Path, settings: list[str], says: str
) -> None:
    ran = matrix.run(server, tmp_path / "run", *settings)
    assert ran.code == 2
    assert says in str(ran.error)
    assert server.counts().get("requests", 0) == 0
    assert ran.seconds <= 3


def test_sixty_broken_recipes_are_refused_elsewhere_and_no_two_are_alike() -> None:
    texts = [bad.recipe for bad in bad_input.BAD_RECIPES]
    assert len(set(texts)) == len(texts) >= 60
