"""Asking through the journal: once a slot, whatever comes back, and never what is known."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InterruptedRunError
from pipeline.teacher.asker import Asker, Settled
from pipeline.teacher.buyer import Buyer
from pipeline.teacher.call import Call, canonical
from pipeline.teacher.journal import FAILURE, INTENT, REPLY, Journal
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.ledger import Ledger
from pipeline.teacher.openai_teacher import OpenAITeacher
from pipeline.teacher.settings import Budget, TeacherSettings
from pipeline.teacher.uri import parse
from tests.teacher_server.process import Server, running_server


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One teacher for the tests here; each sets its plan."""
    with running_server(tmp_path_factory.mktemp("wire") / "history.jsonl") as server:
        server.set_plan([])
        yield server


def call(slot: int, text: str | None = None, stage: str = "bootstrap") -> Call:
    content = f"Name river number {slot}." if text is None else text
    body = {"model": "test-model", "messages": [{"role": "user", "content": content}]}
    return Call(stage, slot, "chat", body, canonical("chat", body), "t", {}, shown=("seed_1",))


def with_asker(
    server: Server,
    path: Path,
    work: Callable[[Asker], Awaitable[Any]],
    *,
    concurrency: int = 4,
    old: Path | None = None,
    grace_s: float = 5.0,
) -> Any:
    async def run() -> Any:
        uri = parse(f"openai:test-model@{server.url}", {})
        teacher = OpenAITeacher(uri, "none", TeacherSettings(timeout_s=5))
        journal = Journal(path / "journal.sqlite")
        old_journal = JournalReader(old / "journal.sqlite") if old else None
        ledger = Ledger(Budget(), {})
        settings = TeacherSettings(outage_limit_s=60, grace_s=grace_s)
        buyer = Buyer(teacher, journal, ledger, settings, concurrency=concurrency)
        asker = Asker(buyer, old=old_journal)
        try:
            return await work(asker)
        finally:
            await teacher.close()
            journal.close()
            if old_journal is not None:
                old_journal.close()

    return asyncio.run(run())


async def ask_all(asker: Asker, calls: list[Call]) -> list[Settled]:
    numbered = [asker.number(one) for one in calls]
    return await asyncio.gather(*(asker.ask(one) for one in numbered))


def kinds(path: Path) -> list[str]:
    journal = Journal(path / "journal.sqlite")
    found = [record.kind for record in journal.records()]
    journal.close()
    return found


def asked(server: Server) -> int:
    return int(server.counts().get("requests_chat", 0))


def test_a_settled_slot_is_not_asked_again_in_any_process(wire: Server, tmp_path: Path) -> None:
    wire.set_plan([])
    calls = [call(n) for n in range(10)]
    first = with_asker(wire, tmp_path, lambda asker: ask_all(asker, calls))
    before = asked(wire)
    again = with_asker(wire, tmp_path, lambda asker: ask_all(asker, calls))
    assert asked(wire) == before
    assert [one.reply for one in again] == [one.reply for one in first]
    assert [one.key for one in again] == [one.key for one in first]
    assert sorted(kinds(tmp_path)) == [INTENT] * 10 + [REPLY] * 10


def test_the_intent_is_on_disk_before_the_request_leaves(wire: Server, tmp_path: Path) -> None:
    wire.set_plan({"latency": 0.3})

    async def work(asker: Asker) -> None:
        before = asked(wire)
        task = asyncio.create_task(asker.ask(asker.number(call(1))))
        while asked(wire) == before:
            await asyncio.sleep(0.01)
        (record,) = asker.journal.records()
        assert (record.kind, record.slot, record.stage) == (INTENT, 1, "bootstrap")
        assert record.note["shown"] == ["seed_1"]
        await task

    with_asker(wire, tmp_path, work)


def test_a_settled_reply_is_on_disk(wire: Server, tmp_path: Path) -> None:
    wire.set_plan([])

    async def work(asker: Asker) -> None:
        settled = await asker.ask(asker.number(call(1)))
        assert asker.journal.committed == 2
        (record,) = asker.journal.records(kind=REPLY)
        assert record.key == settled.key
        assert settled.reply is not None
        assert json.loads(record.raw)["choices"][0]["message"]["content"] == settled.reply.text

    with_asker(wire, tmp_path, work)


def test_equal_requests_are_numbered_by_slot_whichever_is_sent_first(
    wire: Server, tmp_path: Path
) -> None:
    wire.set_plan([])

    async def work(asker: Asker) -> list[int]:
        calls = [asker.number(call(slot, "the same")) for slot in range(5)]
        calls.append(asker.number(call(5, "another")))
        calls.append(asker.number(call(0, "the same", stage="classify")))
        await asyncio.gather(*(asker.ask(one) for one in reversed(calls)))
        return [one.sample for one in calls]

    before = asked(wire)
    assert with_asker(wire, tmp_path, work) == [0, 1, 2, 3, 4, 0, 0]
    assert asked(wire) - before in (6, 7)  # the same question of another stage has an answer
    before = asked(wire)
    assert with_asker(wire, tmp_path, work) == [0, 1, 2, 3, 4, 0, 0]
    assert asked(wire) == before


def test_a_reply_that_cannot_be_used_is_asked_again_three_times_at_most(
    wire: Server, tmp_path: Path
) -> None:
    wire.set_plan([{"fault": "empty_choices", "match": {"prompt": "number 2"}}])
    before = asked(wire)
    found = with_asker(wire, tmp_path, lambda asker: ask_all(asker, [call(n) for n in range(4)]))
    assert asked(wire) - before == 3 + 3
    assert [one.outcome for one in found] == ["", "", "no_choices", ""]
    assert found[2].reply is None
    wire.set_plan([])
    again = with_asker(wire, tmp_path, lambda asker: ask_all(asker, [call(n) for n in range(4)]))
    assert again == found, "an exhausted slot stays so"
    assert asked(wire) - before == 6


def test_a_second_try_that_succeeds_settles_the_slot(wire: Server, tmp_path: Path) -> None:
    wire.set_plan([{"fault": "invalid_json", "times": 1}])
    (found,) = with_asker(wire, tmp_path, lambda asker: ask_all(asker, [call(77)]))
    assert found.reply is not None
    assert kinds(tmp_path) == [INTENT, REPLY, INTENT, REPLY]


def test_replies_of_another_run_are_taken_over_and_not_counted_as_bought(
    wire: Server, tmp_path: Path
) -> None:
    wire.set_plan([])
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    calls = [call(n) for n in range(5)]
    first = with_asker(wire, tmp_path / "old", lambda asker: ask_all(asker, calls))
    before = asked(wire)

    async def work(asker: Asker) -> list[Settled]:
        found = await ask_all(asker, [*calls, call(5)])
        await asker.journal.settle()
        (usage,) = asker.journal.usage("bootstrap")
        assert usage[:3] == ("test-model", 1, 1)
        return found

    found = with_asker(wire, tmp_path / "new", work, old=tmp_path / "old")
    assert [one.reply for one in found[:5]] == [one.reply for one in first]
    assert asked(wire) == before + 1
    assert sorted(kinds(tmp_path / "new")) == [INTENT] * 6 + [REPLY] * 6


@pytest.mark.parametrize("concurrency", [1, 3])
def test_never_more_than_the_concurrency_is_in_flight(tmp_path: Path, concurrency: int) -> None:
    with running_server(tmp_path / "history.jsonl", {"latency": 0.2}) as server:
        calls = [call(n) for n in range(12)]
        with_asker(server, tmp_path, lambda a: ask_all(a, calls), concurrency=concurrency)
        assert server.counts()["peak_in_flight"] == concurrency


def test_after_a_stop_nothing_more_is_sent_and_what_is_in_flight_is_kept(
    wire: Server, tmp_path: Path
) -> None:
    wire.set_plan({"latency": 0.4})
    before = asked(wire)

    async def work(asker: Asker) -> None:
        tasks = [asyncio.create_task(asker.ask(asker.number(call(n)))) for n in range(20)]
        while asked(wire) - before < 4:
            await asyncio.sleep(0.01)
        asker.buyer.stop(InterruptedRunError("told to"))
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(one, Settled) for one in found) == 4
        refused = [one for one in found if isinstance(one, InterruptedRunError)]
        assert [str(one) for one in refused] == ["told to"] * 16

    with_asker(wire, tmp_path, work)
    assert asked(wire) - before == 4
    assert kinds(tmp_path).count(REPLY) == 4


def test_what_outlasts_the_grace_is_cut(wire: Server, tmp_path: Path) -> None:
    wire.set_plan([{"fault": "black_hole"}])
    before = asked(wire)

    async def work(asker: Asker) -> None:
        task = asyncio.create_task(asker.ask(asker.number(call(1))))
        while asked(wire) == before:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        asker.buyer.stop(InterruptedRunError("told to"))
        with pytest.raises(InterruptedRunError):
            await task
        assert 0.1 < time.monotonic() - began < 2

    with_asker(wire, tmp_path, work, grace_s=0.2)


def test_letting_go_sends_nothing_that_waits_and_the_asker_goes_on(
    wire: Server, tmp_path: Path
) -> None:
    wire.set_plan({"latency": 0.2})
    before = asked(wire)

    async def work(asker: Asker) -> None:
        tasks = [asyncio.create_task(asker.ask(asker.number(call(n)))) for n in range(10)]
        while asked(wire) - before < 4:
            await asyncio.sleep(0.01)
        await asker.let_go(tasks)
        assert asked(wire) - before == 4
        settled = await asker.ask(asker.number(call(50, stage="classify")))
        assert settled.reply is not None

    with_asker(wire, tmp_path, work)


def test_a_pause_holds_every_request_back(wire: Server, tmp_path: Path) -> None:
    wire.set_plan([{"fault": "rate_limit", "retry_after": 1, "hold": True, "times": 1}])
    early = wire.counts().get("early", 0)
    calls = [call(n) for n in range(8)]
    found = with_asker(wire, tmp_path, lambda asker: ask_all(asker, calls), concurrency=1)
    assert all(one.reply is not None for one in found)
    assert wire.counts().get("early", 0) == early


@contextmanager
def slow_disk(path: Path) -> Iterator[None]:
    """No commit of the journal ends before this does."""
    other = sqlite3.connect(path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_pause_that_begins_while_the_disk_is_waited_for_holds_the_request_back(
    wire: Server, tmp_path: Path
) -> None:
    pause = {"fault": "rate_limit", "retry_after": 1, "hold": True, "times": 1}
    wire.set_plan({"rules": [pause], "latency": 0.3})
    early = wire.counts().get("early", 0)

    async def work(asker: Asker) -> None:
        before, refused = asked(wire), wire.faults("rate_limit")
        tasks = [asyncio.create_task(asker.ask(asker.number(call(1))))]
        while asked(wire) == before:
            await asyncio.sleep(0.01)
        with slow_disk(tmp_path):
            tasks += [asyncio.create_task(asker.ask(asker.number(call(n)))) for n in (2, 3)]
            while wire.faults("rate_limit") == refused:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # the refusal is here, and both still wait for the disk
            assert asked(wire) == before + 1
        assert all(one.reply is not None for one in await asyncio.gather(*tasks))

    with_asker(wire, tmp_path, work)
    assert wire.counts().get("early", 0) == early
    assert kinds(tmp_path).count(INTENT) == 4


def test_a_run_that_ends_while_the_disk_is_waited_for_sends_nothing_and_books_nothing(
    wire: Server, tmp_path: Path
) -> None:
    wire.set_plan([])
    before = asked(wire)

    async def work(asker: Asker) -> None:
        with slow_disk(tmp_path):
            task = asyncio.create_task(asker.ask(asker.number(call(1))))
            await asyncio.sleep(0.2)
            asker.buyer.stop(InterruptedRunError("told to"))
        with pytest.raises(InterruptedRunError, match="told to"):
            await task
        assert asker.buyer.ledger.requests == 0
        assert asker.buyer.ledger.taken("test-model").tokens == 0
        await asker.journal.settle()
        assert {(book, n, n_in) for book, _, n, n_in, _ in asker.journal.spent()} == {
            ("sent", 0, 0)
        }

    with_asker(wire, tmp_path, work)
    assert asked(wire) == before
    assert kinds(tmp_path) == [INTENT, FAILURE]


def test_a_reply_and_the_request_in_its_place_share_a_commit(
    wire: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.set_plan([])
    sizes: list[list[str]] = []
    commit = Journal._commit

    def noted(journal: Journal, batch: list[tuple[Any, ...]]) -> None:
        sizes.append([record[1] for record in batch])
        commit(journal, batch)

    monkeypatch.setattr(Journal, "_commit", noted)
    calls = [call(n) for n in range(6)]
    with_asker(wire, tmp_path, lambda asker: ask_all(asker, calls), concurrency=1)
    assert sizes == [[INTENT], *[[REPLY, INTENT]] * 5, [REPLY]]
    assert kinds(tmp_path) == [INTENT, REPLY] * 6
