"""How many conversations are begun ahead of the replies."""

from pipeline.run.window import Demand


def begun(demand: Demand) -> int:
    """Begin conversations of one request each until no more are to be begun."""
    n = 0
    while not demand.is_met:
        demand.change(1)
        n += 1
    return n


def test_several_are_begun_at_once_and_none_before_fewer_than_the_least_are_wanted() -> None:
    demand = Demand(least=5, most=8)
    assert begun(demand) == 8
    for _ in range(3):
        demand.change(-1)
        assert (demand.is_met, demand.fell.is_set()) == (True, False)
    demand.change(-1)
    assert (demand.is_met, demand.fell.is_set()) == (False, True)
    assert begun(demand) == 4


def test_with_one_place_one_is_begun_for_each_reply() -> None:
    demand = Demand(least=2, most=2)
    assert begun(demand) == 2
    demand.change(-1)
    assert begun(demand) == 1


def test_a_conversation_that_asks_several_at_once_counts_them_all() -> None:
    demand = Demand(least=5, most=8)
    demand.change(10)
    assert begun(demand) == 0
    demand.change(-5)
    assert begun(demand) == 0
    demand.change(-1)
    assert begun(demand) == 4
