"""Which rows are shown to which: shares, pools, and the order of choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.near_duplicates.minhash import signatures
from filters.nearest import alike
from pipeline.stages.demonstrations import How, Wanted, choose, pool_of, share_of

WORDS = ("ferry", "noon", "rain", "harbour", "boat", "gull", "crew", "catch", "light", "quiet")


def texts_of(seed: int, n: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 5))) for _ in range(n)]


@given(st.integers(0, 60), st.floats(0, 1), st.integers(0, 99))
def test_a_share_is_exact_whatever_there_is(n: int, share: float, seed: int) -> None:
    names = [f"r{at}" for at in range(n)]
    found = share_of(names, share, n, seed, "steps")
    assert abs(len(found) - share * n) <= 0.5 + 1e-9
    assert found <= set(names)
    assert share_of(names[::-1], share, n, seed, "steps") == found


def test_a_share_of_more_than_there_are_takes_them_all() -> None:
    assert share_of(["a", "b"], 0.5, 100, 1, "steps") == {"a", "b"}
    assert share_of(["a", "b"], 0, 100, 1, "steps") == set()


def test_the_seed_and_the_purpose_decide_which() -> None:
    names = [f"r{at}" for at in range(100)]
    found = share_of(names, 0.3, 100, 1, "steps")
    assert share_of(names, 0.3, 100, 2, "steps") != found
    assert share_of(names, 0.3, 100, 1, "demonstrations") != found
    assert found < share_of(names, 0.4, 100, 1, "steps")


def test_a_pool_holds_each_text_once_in_an_order_that_places_do_not_decide() -> None:
    ids = ["a", "b", "c", "d"]
    pool = pool_of([0, 1, 2, 3], ids, np.array([5, 6, 5, 7]), seed=1)
    assert sorted(pool.texts.tolist()) == [5, 6, 7]
    again = pool_of([3, 2, 1, 0], ids[::-1], np.array([7, 5, 6, 5]), seed=1)
    assert [ids[place] for place in pool.places] == [ids[::-1][place] for place in again.places]


@pytest.mark.parametrize("how", ["random", "similar", "diverse"])
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), k=st.integers(1, 4))
def test_nobody_is_shown_its_own_text_and_nobody_twice(how: How, seed: int, n: int, k: int) -> None:
    texts = texts_of(seed, n)
    numbers = np.array([sorted(set(texts)).index(text) for text in texts])
    ids = [f"r{at}" for at in range(n)]
    pool = pool_of(range(n), ids, numbers, seed)
    table = signatures(texts, permutations=16, ngram=1)
    wanted = [Wanted(name, at, k) for at, name in enumerate(ids)]
    found = choose(wanted, pool, numbers, table, how, seed)
    for at, name in enumerate(ids):
        shown = [place for place, _ in found[name]]
        assert len(shown) == min(k, len(set(texts)) - 1)
        assert len({texts[place] for place in shown}) == len(shown)
        assert texts[at] not in {texts[place] for place in shown}
        for place, score in found[name]:
            assert score == alike(table[at], table[[place]])[0]


@given(seed=st.integers(0, 10**6), n=st.integers(2, 15), k=st.integers(1, 4))
def test_similar_ones_are_the_most_similar_of_all(seed: int, n: int, k: int) -> None:
    texts = list(dict.fromkeys(texts_of(seed, n)))
    n = len(texts)
    numbers, ids = np.arange(n), [f"r{at}" for at in range(n)]
    pool = pool_of(range(n), ids, numbers, seed)
    table = signatures(texts, permutations=16, ngram=1)
    wanted = [Wanted(name, at, k) for at, name in enumerate(ids)]
    found = choose(wanted, pool, numbers, table, "similar", seed)
    for at, name in enumerate(ids):
        every = sorted((float(alike(table[at], table[[other]])[0]) for other in range(n)
                        if other != at), reverse=True)  # fmt: skip
        assert [score for _, score in found[name]] == every[:k]


def test_diverse_ones_begin_with_the_most_alike_and_then_differ() -> None:
    table = np.array([[1, 0], [0.9, 0.436], [0.88, 0.475], [-1, 0], [0, 1]], np.float32)
    numbers, ids = np.arange(5), list("abcde")
    pool = pool_of(range(5), ids, numbers, seed=1)
    found = choose([Wanted("a", 0, 3)], pool, numbers, table, "diverse", 1)["a"]
    assert [place for place, _ in found] == [1, 3, 4]


def test_a_row_without_a_vector_is_shown_random_ones() -> None:
    table = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    numbers, ids = np.arange(4), list("abcd")
    pool = pool_of(range(4), ids, numbers, seed=1)
    by_chance = choose([Wanted("a", 0, 2)], pool, numbers, table, "random", 1)
    assert choose([Wanted("a", 0, 2)], pool, numbers, table, "similar", 1) == by_chance
    assert [score for _, score in by_chance["a"]] == [0, 0]


@pytest.mark.parametrize("how", ["random", "similar", "diverse"])
def test_one_row_gets_the_same_alone_as_among_others(how: How) -> None:
    texts = list(dict.fromkeys(texts_of(4, 60)))
    numbers, ids = np.arange(len(texts)), [f"r{at}" for at in range(len(texts))]
    pool = pool_of(range(len(texts)), ids, numbers, 1)
    table = signatures(texts, permutations=16, ngram=1)
    wanted = [Wanted(name, at, 3) for at, name in enumerate(ids)]
    found = choose(wanted, pool, numbers, table, how, 1)
    for one in wanted[::7]:
        assert choose([one], pool, numbers, table, how, 1)[one.name] == found[one.name]
