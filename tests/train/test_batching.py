"""Calls that wait together are answered together, and a batch that fails leaves nobody waiting."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from pipeline.errors import TeacherError
from pipeline.train.batching import Batches


def settled(
    answer: Callable[[list[str]], Sequence[bytes]], items: Sequence[str], *, most: int = 4
) -> list[bytes | BaseException]:
    """What comes back for each of `items`, all asked for in one turn of the loop."""

    async def ask() -> list[bytes | BaseException]:
        batches = Batches(answer, most=most, cannot="m cannot measure")
        found = await asyncio.gather(*map(batches.ask, items), return_exceptions=True)
        await batches.finish()
        return [one if isinstance(one, BaseException) else one.raw for one in found]

    return asyncio.run(asyncio.wait_for(ask(), timeout=60))


def test_those_of_one_turn_are_batches_of_at_most_so_many_in_their_order() -> None:
    seen: list[list[str]] = []

    def answer(items: list[str]) -> list[bytes]:
        seen.append(items)
        return [item.upper().encode() for item in items]

    assert settled(answer, "abcdefghij") == [letter.encode() for letter in "ABCDEFGHIJ"]
    assert seen == [["a", "b", "c", "d"], ["e", "f", "g", "h"], ["i", "j"]]


@pytest.mark.parametrize("said", ["CUDA out of memory.\nTried to allocate", ""])
def test_a_batch_that_a_library_refuses_is_said_and_the_next_is_answered(said: str) -> None:
    def answer(items: list[str]) -> list[bytes]:
        if "b" in items:
            raise RuntimeError(said)
        return [b"done"] * len(items)

    first, second, third = settled(answer, "abc", most=2)
    first_line = f"RuntimeError: {said.partition('.')[0]}"
    for error in (first, second):
        assert isinstance(error, TeacherError)
        assert str(error) == f"m cannot measure a batch of 2: {first_line}."
        assert isinstance(error.__cause__, RuntimeError)
    assert third == b"done"


def test_an_error_of_our_own_reaches_everybody_who_waits() -> None:
    def answer(items: list[str]) -> list[bytes]:
        raise KeyError(items[0])

    first, second = settled(answer, "ab", most=1)
    assert isinstance(first, KeyError)
    assert first.args == ("a",)
    assert isinstance(second, KeyError)
    assert second.args == ("b",)


def test_who_gave_up_before_the_batch_began_is_not_answered() -> None:
    seen: list[list[str]] = []

    def answer(items: list[str]) -> list[bytes]:
        seen.append(items)
        return [b"done"] * len(items)

    async def ask() -> bytes:
        batches = Batches(answer, most=4, cannot="m cannot measure")
        gone, stays = (asyncio.create_task(batches.ask(item)) for item in "ab")
        await asyncio.sleep(0)  # both wait
        gone.cancel()
        received = await stays
        assert gone.cancelled()
        return received.raw

    assert asyncio.run(ask()) == b"done"
    assert seen == [["b"]]
