"""The offline teacher evolves tasks of its grammar, tells them apart and answers them."""

import json
import re
from collections import Counter
from random import Random

import polars as pl
import pytest

from filters import information_gain, prompt_leak, refusal, stop_words
from filters.keywords import keywords
from pipeline.stages.evolution import CONSTRAINT, STEP, Source, read_task
from pipeline.teacher import offline
from pipeline.teacher.offline import evolving, grammar
from pipeline.teacher.offline.replies import Answer

DEPTH = ("constraints", "deepen", "concretize", "reasoning", "complicate")
FOREIGN = {"instruction": "Explain how a violin is tuned in Vienna.", "input": ""}


def _ask(template: str, values: dict[str, object], seed: int) -> Answer:
    return offline.answer(template, values, Random(seed))


def _evolved(operation: str, source: Source, seed: int) -> Source | None:
    """A rewriting without a flaw, or null."""
    reply = _ask(f"evolve-{operation}", source.values, seed)
    kind = "breadth" if operation == "breadth" else "depth"
    instruction, given = read_task(reply.text, source, kind)
    is_good = reply.finish_reason == "stop" and instruction != source.instruction
    if not is_good or prompt_leak.judge(instruction)[0] or len(instruction.split()) > 300:
        return None
    return Source(instruction, given) if instruction else None


def _drafts(n: int) -> list[Source]:
    rng = Random(5)
    return [Source(grammar.draft(rng).instruction, "") for _ in range(n)]


@pytest.mark.parametrize("operation", DEPTH)
def test_a_deeper_task_is_longer_and_is_known_again(operation: str) -> None:
    found = 0
    for seed, source in enumerate(_drafts(60)):
        child = _evolved(operation, source, seed)
        if child is None:
            continue
        found += 1
        added = len(child.instruction.split()) - len(source.instruction.split())
        assert 9 <= added <= 26, child.instruction
        read = evolving.read(child.instruction, child.input)
        assert read is not None
        assert read.pair is not None
        assert [clause.operation for clause, _ in read.clauses] == [operation]
    assert found > 45


@pytest.mark.parametrize("operation", DEPTH)
def test_a_deeper_task_keeps_the_input_of_its_parent_and_is_answered_for_it(operation: str) -> None:
    met = 0
    for seed, source in enumerate(_drafts(150)):
        task = grammar.recognise(source.instruction)
        assert task is not None
        if not task.family.field:
            continue
        given, answer = task.family.instance(task.slots, Random(seed))
        given = f"{task.family.field}: {given.strip()}" if seed % 2 else given.strip()
        child = _evolved(operation, Source(source.instruction, given), seed)
        if child is None:
            continue
        if operation == "complicate":
            assert child.input.startswith(f"{given}\n\nData (")
        else:
            assert child.input == given
        reply = _ask("respond", child.values, seed)
        if reply.finish_reason == "stop" and reply.text not in (*evolving.SORRY, *evolving.NOTHING):
            met += 1
            assert reply.text.startswith(answer)
    assert met > 30


def test_constraints_and_steps_are_really_added() -> None:
    for operation, pattern in (("constraints", CONSTRAINT), ("reasoning", STEP)):
        grown = [
            len(pattern.findall(child.instruction)) - len(pattern.findall(source.instruction))
            for seed, source in enumerate(_drafts(60))
            if (child := _evolved(operation, source, seed)) is not None
        ]
        assert min(grown) >= 1


def test_a_task_of_another_domain_stands_in_for_a_broader_one() -> None:
    found = 0
    for seed, source in enumerate(_drafts(60)):
        child = _evolved("breadth", source, seed)
        if child is None:
            continue
        found += 1
        read = evolving.read(child.instruction, child.input)
        before = evolving.read(source.instruction, "")
        assert read is not None
        assert before is not None
        assert read.task.family.domain != before.task.family.domain
    assert found > 45


def test_an_answer_says_something_to_every_sentence_that_was_added() -> None:
    answered = 0
    for seed, first in enumerate(_drafts(40)):
        source: Source | None = first
        for operation in ("constraints", "complicate", "reasoning"):
            source = source and _evolved(operation, source, seed)
        if source is None:
            continue
        reply = _ask("respond", source.values, seed)
        if reply.finish_reason != "stop" or stop_words.judge(reply.text)[0]:
            continue
        if refusal.judge(reply.text)[0] and reply.text in evolving.SORRY:
            continue
        answered += 1
        assert len(reply.text.splitlines()) >= 4, reply.text
        largest = re.search(r"the largest entry of the (\w+) is (.+) with (\d+)", reply.text)
        assert largest is not None
        assert int(largest[3]) == max(
            int(n) for n in re.findall(r"\d\d", source.input.rpartition("Data (")[2])
        )
        assert largest[2] in source.input
    assert answered > 20


def test_the_data_of_an_input_is_what_it_is_called() -> None:
    kinds: Counter[str] = Counter()
    for seed, source in enumerate(_drafts(120)):
        child = _evolved("complicate", source, seed)
        if child is None:
            continue
        block = re.search(r"Data \((\w+)\):\n(.*)\Z", child.input, re.DOTALL)
        assert block is not None
        kinds[block[1]] += 1
        if block[1] == "JSON":
            assert len(json.loads(block[2])) == 4
        if block[1] == "code":
            assert block[2].startswith("stock = {")
    assert set(kinds) == set(evolving.KINDS)


def test_equal_tasks_are_equal_and_others_mostly_are_not() -> None:
    said: Counter[bool | None] = Counter()
    for seed, source in enumerate(_drafts(150)):
        same = {"first": source.values, "second": source.values}
        assert _ask("compare", same, seed).text == "Equal"
        if (child := _evolved("deepen", source, seed)) is not None:
            pair = {"first": source.values, "second": child.values}
            said[information_gain.says_different(_ask("compare", pair, 9000 + seed).text)] += 1
    assert said[True] > 110
    assert 0 < said[False] < 15


def test_tasks_of_others_are_refused_and_never_judged() -> None:
    own = _drafts(1)[0].values
    for template in (*(f"evolve-{name}" for name in (*DEPTH, "breadth")), "respond"):
        assert refusal.judge(_ask(template, FOREIGN, 1).text)[0] == "refusal"
    for pair in ((own, FOREIGN), (FOREIGN, own), (FOREIGN, FOREIGN)):
        reply = _ask("compare", {"first": pair[0], "second": pair[1]}, 1)
        assert information_gain.says_different(reply.text) is None


def test_flaws_come_at_about_their_rates() -> None:
    found: Counter[str] = Counter()
    source = next(one for one in _drafts(50) if evolving.read(one.instruction, "").pair)  # type: ignore[union-attr]
    rewritten = (_ask("evolve-deepen", source.values, seed).text for seed in range(9000, 9100))
    evolved = next(text for text in rewritten if (one := evolving.read(text, "")) and one.clauses)
    for seed in range(2000):
        reply = _ask("evolve-deepen", source.values, seed)
        found["cut"] += reply.finish_reason == "length"
        found["leak"] += prompt_leak.judge(reply.text)[0] is not None
        found["copy"] += reply.text == source.instruction
        found["long"] += len(reply.text.split()) > 400
        answer = _ask("respond", source.values | {"instruction": evolved}, seed)
        found["sorry"] += answer.text in evolving.SORRY
        found["nothing"] += stop_words.judge(answer.text)[0] is not None
    for name, rate in (
        ("cut", evolving.CUT_RATE),
        ("leak", evolving.LEAK_RATE),
        ("copy", evolving.COPY_RATE),
        ("long", evolving.LONG_RATE),
        ("sorry", evolving.SORRY_RATE),
        ("nothing", evolving.NOTHING_RATE),
    ):
        assert 0.5 * rate < found[name] / 2000 < 1.6 * rate, name


def test_no_added_sentence_holds_a_word_that_the_keyword_filter_drops() -> None:
    rng = Random(8)
    texts = [clause.phrasing.fill(rng)[0] for clause in evolving._clauses() for _ in range(40)]
    assert keywords(pl.Series(texts))["reason"].null_count() == len(texts)
