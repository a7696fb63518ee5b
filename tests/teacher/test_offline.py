"""The offline teacher: same seed, same text; its own tasks found again; right answers; flaws."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from random import Random

import pytest
from rapidfuzz.distance import LCSseq

from pipeline.teacher.offline import answer, flaws, grammar
from pipeline.teacher.offline.families import FAMILIES
from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.replies import REFUSAL
from pipeline.teacher.offline.words import FOLDER, phrasings

BY_NAME = {family.name: family for family in FAMILIES}
VALUES = {"tasks": ["Name three rivers of Europe.", "Add 17 and 25."], "first": 9, "last": 15}
BANNED = re.compile(
    r"(?i)\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to|video|audio|flowchart)\b"
)


def tasks(name: str, count: int = 100) -> list[grammar.Task]:
    rng = Random(name)
    return [grammar.draft(rng, (BY_NAME[name],)) for _ in range(count)]


def outputs(name: str, count: int = 100) -> list[tuple[grammar.Task, str, str]]:
    rng = Random(1)
    return [(task, *task.family.instance(task.slots, rng)) for task in tasks(name, count)]


def ints(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


def replies(count: int) -> list[str]:
    return [answer("bootstrap", VALUES, Random(seed)).text for seed in range(count)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_draft_is_recognised_with_its_family_and_slots_however_it_is_spelled(
    family: Family,
) -> None:
    for task in tasks(family.name, 200):
        found = grammar.recognise(task.instruction.capitalize().replace(" ", "  "))
        assert found is not None, task.instruction
        assert (found.family.name, found.slots) == (family.name, task.slots), task.instruction


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_instructions_and_answers_keep_to_the_lengths_and_words_that_are_asked_for(
    family: Family,
) -> None:
    for task, source, output in outputs(family.name, 50):
        assert 4 <= len(task.instruction.split()) <= 60, task.instruction
        assert not BANNED.search(task.instruction), task.instruction
        assert not re.search(r"[{}]|\b[Aa] [aeio]", task.instruction), task.instruction
        assert bool(source) == bool(family.field)
        assert output == output.strip() != ""
        assert len(output.split()) < 130
        assert not output.endswith(":")
        assert not family.labels or output in family.labels


def test_no_word_list_holds_a_word_that_the_keyword_filter_drops() -> None:
    for path in FOLDER.iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not BANNED.search(line.split("\t")[0]), f"{path.name}: {line}"


def test_every_family_has_phrasings_and_every_phrasing_a_family() -> None:
    assert len(FAMILIES) == len(BY_NAME) >= 60
    assert set(phrasings()) == set(BY_NAME)
    assert len({family.domain for family in FAMILIES}) >= 20
    assert min(len(family.phrasings) for family in FAMILIES) >= 3


def test_the_same_seed_gives_the_same_replies_in_any_process() -> None:
    code = (
        "from random import Random\n"
        "from pipeline.teacher.offline import answer\n"
        f"for n in range(40):\n    text = answer('bootstrap', {VALUES!r}, Random(n)).text\n"
        "    item = text.splitlines()[-1].partition('. ')[2] if text else ''\n"
        "    values = {'instruction': item, 'instances': 5}\n"
        "    for name in ('instances_input_first', 'instances_output_first', 'classify'):\n"
        "        print(ascii(text), ascii(answer(name, values, Random(n)).text))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(printed.pop()) > 10_000


def test_a_template_that_is_not_answered_is_named_with_those_that_are() -> None:
    with pytest.raises(LookupError, match=r"'grade', only backtranslate, bootstrap"):
        answer("grade", {}, Random(0))


def test_an_instruction_of_others_is_refused_and_never_called_a_classification() -> None:
    for instruction in ("Explain the plot of Hamlet.", "", "Prime or composite? And why so?"):
        values = {"instruction": instruction, "instances": 5}
        assert answer("classify", values, Random(1)).text == "No"
        for template in ("instances_input_first", "instances_output_first"):
            assert answer(template, values, Random(1)).text == f"Output: {REFUSAL}"


def test_a_reply_goes_on_with_the_list_at_the_number_in_the_prompt() -> None:
    numbers = Counter(
        tuple(map(int, re.findall(r"^(\d+)\. ", text, re.MULTILINE))) for text in replies(400)
    )
    (most, _), *_ = numbers.most_common(1)
    assert most == (10, 11, 12, 13, 14, 15)
    assert all(number <= 16 for found in numbers for number in found)


def test_over_two_thousand_drafts_are_novel_against_each_other() -> None:
    started = time.perf_counter()
    rng, ids = Random(5), dict[str, int]()
    kept: dict[int, list[tuple[list[int], Counter[int]]]] = {}
    for _ in range(3000):
        words = re.findall(r"[a-z0-9]+", grammar.draft(rng).instruction.lower())
        tokens = [ids.setdefault(word, len(ids)) for word in words]
        bag, size = Counter(tokens), len(tokens)
        if not any(
            (bag & other_bag).total() * 20 >= 7 * (size + length)
            and LCSseq.similarity(tokens, other) * 20 >= 7 * (size + length)
            for length in range(size * 7 // 13, size * 13 // 7 + 1)
            for other, other_bag in kept.get(length, ())
        ):
            kept.setdefault(size, []).append((tokens, bag))
    assert sum(map(len, kept.values())) > 2000
    assert time.perf_counter() - started < 60


def test_flaws_of_replies_appear_at_about_their_rates() -> None:
    texts = replies(6000)
    reasons = [answer("bootstrap", VALUES, Random(seed)).finish_reason for seed in range(6000)]
    shares = {
        flaws.EMPTY_RATE: sum(not text for text in texts),
        flaws.REFUSAL_RATE: sum("sorry" in text.lower()[:10] for text in texts),
        flaws.CUT_RATE: reasons.count("length"),
        flaws.FENCE_RATE: sum("```" in text for text in texts),
        flaws.NUMBER_AGAIN_RATE: sum(text.startswith(" 9. ") for text in texts),
    }
    for rate, count in shares.items():
        assert rate * 0.4 < count / 6000 < rate * 1.7, rate


def test_flaws_of_items_appear_at_about_their_rates() -> None:
    rng = Random(2)
    items = [flaws.item("Good task of mine.", VALUES["tasks"], rng) for _ in range(20_000)]
    found = Counter(
        "good" if text == "Good task of mine."
        else "repeat" if text in VALUES["tasks"]
        else "program" if text.startswith("Write a program")
        else "long" if len(text.split()) > 150
        else "short" if len(text.split()) < 4
        else "foreign" if not text[0].isascii()
        else "banned" if BANNED.search(text)
        else "other"
        for text in items
    )  # fmt: skip
    assert found["good"] > 16_000
    for kind, rate in {
        "repeat": flaws.REPEAT_RATE,
        "program": flaws.PROGRAM_RATE,
        "long": flaws.LONG_RATE,
        "short": flaws.SHORT_RATE,
        "foreign": flaws.FOREIGN_RATE,
        "banned": flaws.BANNED_RATE,
        "other": flaws.NEAR_DUPLICATE_RATE + flaws.PUNCTUATION_RATE,
    }.items():
        assert rate * 0.6 < found[kind] / 20_000 < rate * 1.5, kind


def test_labels_are_mostly_right_and_cover_the_choices() -> None:
    found: Counter[bool] = Counter()
    labels: Counter[str] = Counter()
    for seed, task in enumerate(tasks("parity", 1500)):
        values = {"instruction": task.instruction, "instances": 5}
        text = answer("instances_output_first", values, Random(seed)).text
        for label, a, b in re.findall(r"Class label: (odd|even)\n(\d+) \+ (\d+)", text):
            labels[label] += 1
            found[("odd" if (int(a) + int(b)) % 2 else "even") == label] += 1
    assert 0.002 < found[False] / found.total() < 0.05
    assert abs(labels["odd"] - labels["even"]) < 0.1 * labels.total()


def test_classification_is_seldom_judged_wrong() -> None:
    rng = Random(4)
    wrong = 0
    for seed in range(4000):
        task = grammar.draft(rng)
        verdict = answer("classify", {"instruction": task.instruction}, Random(seed)).text
        wrong += verdict != ("Yes" if task.family.is_classification else "No")
    rate = flaws.WRONG_VERDICT_RATE + flaws.UNTIDY_VERDICT_RATE
    assert rate * 0.6 < wrong / 4000 < rate * 1.5


def test_instances_have_each_flaw_now_and_then() -> None:
    family = BY_NAME["sort_rows"]
    pairs = [("a", "b"), ("c", "d")]
    results = [flaws.instances(list(pairs), family, Random(seed)) for seed in range(5000)]
    assert 0.9 < sum(result == (pairs, False) for result in results) / 5000 < 0.97
    flat = [pair for found, _ in results for pair in found]
    assert any(source == output for source, output in flat)
    assert any(not output for _, output in flat)
    assert any(output.endswith(":") for _, output in flat)
    assert any(len(found) == 3 and len(set(found)) == 2 for found, _ in results)
    assert any(len(set(found)) == 3 for found, _ in results)
    assert any(is_cut for _, is_cut in results)


def test_sums_are_right() -> None:
    for task, _, output in outputs("discount"):
        price, percent = int(task.slots["p"]), int(task.slots["d"])
        assert float(output.split()[-2]) == pytest.approx(price * (100 - percent) / 100)
    for task, _, output in outputs("average"):
        mean = sum(int(task.slots[name]) for name in "abcd") / 4
        assert float(re.findall(r"[\d.]*\d", output)[-1]) == mean
    for task, _, output in outputs("compound_interest"):
        value = float(task.slots["p"])
        for _year in range(int(task.slots["y"])):
            value *= 1 + int(task.slots["r"]) / 100
        assert float(output.replace(" each", "").split()[-2]) == pytest.approx(value, abs=0.006)
    for task, _, output in outputs("arrival"):
        hour, minute = ints(output)[-2:]
        start = int(task.slots["h"]) * 60 + int(task.slots["m"])
        assert (hour * 60 + minute - start - int(task.slots["n"])) % 1440 == 0
    for task, _, output in outputs("dice"):
        sides, goal = int(task.slots["s"]), int(task.slots["g"])
        rolls = [a + b for a in range(1, sides + 1) for b in range(1, sides + 1)]
        percent = float(re.findall(r"about ([\d.]+) %", output)[0])
        assert percent == pytest.approx(100 * rolls.count(goal) / len(rolls), abs=0.051)


def test_the_closing_sentence_decides_whether_the_steps_are_shown() -> None:
    for task, _, output in outputs("sequence"):
        if "only" in task.slots["tail"]:
            assert output.isdigit()
        else:
            assert output.startswith("The rule gives")


def test_roman_numerals_are_right() -> None:
    worth = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
    for _, numeral, output in outputs("from_roman"):
        values = [worth[sign] for sign in numeral]
        pairs = zip(values, [*values[1:], 0], strict=True)
        assert sum(-a if a < b else a for a, b in pairs) == int(output)


def test_python_answers_run_and_do_what_is_asked() -> None:
    numbers = [-35, -9, -4, 0, 3, 5, 7, 16, 21, 40, 49, 100]
    for task, _, output in outputs("python_numbers", 200):
        scope: dict[str, object] = {}
        exec(output, scope)
        result = scope["pick"](numbers)  # type: ignore[operator]
        if task.slots["which"] == "odd numbers" and task.slots["action"] == "the sum of":
            assert result == -35 - 9 + 3 + 5 + 7 + 21 + 49
        if task.slots["which"] == "square numbers" and task.slots["action"].startswith("how many"):
            assert result == 4
    for task, _, output in outputs("python_text", 200):
        scope = {}
        exec(output, scope)
        result = scope["handle"]("Never odd or even 1")  # type: ignore[operator]
        if task.slots["task"] == "counts the vowels":
            assert result == 6
        if task.slots["task"] == "removes all digits":
            assert result == "Never odd or even "


def test_traced_code_prints_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("python_loop", "python_slice"):
        for _, code, output in outputs(name, 40):
            exec(compile(ast.parse(code), "traced", "exec"), {})
            assert capsys.readouterr().out.strip() == output


def test_json_answers_parse_and_patterns_match_what_they_say() -> None:
    for name in ("person_json", "order_json"):
        for _, _, output in outputs(name):
            assert isinstance(json.loads(output), dict)
    for _, source, output in outputs("csv_to_json"):
        rows = [line.split(",") for line in source.splitlines()[1:]]
        assert [list(map(str, record.values())) for record in json.loads(output)] == rows
    for _, _, output in outputs("regex"):
        pattern, yes, no = re.findall(r"`([^`]+)`", output)
        assert re.search(pattern, yes)
        assert not re.search(pattern, no)


def test_importing_the_teacher_is_quick_and_brings_only_the_standard_library() -> None:
    code = (
        "import sys\nimport pipeline.teacher.offline\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(n for n in names if n in {'numpy', 'polars', 'pydantic', 'jinja2'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"


def test_of_two_texts_the_one_with_more_of_a_right_answer_is_preferred() -> None:
    rng = Random(4)
    won = Counter[str]()
    for _ in range(100):
        task = grammar.draft(rng)
        source, right = task.family.instance(task.slots, rng)
        values = {"instruction": task.instruction, "input": source}
        for first, second, best in ((right, "Nothing.", "A"), ("Nothing.", right, "B")):
            said = answer("prefer", {**values, "first": first, "second": second}, rng).text
            won[f"{best} {said.splitlines()[0]}"] += 1
    assert won["A A"] > 80
    assert won["B B"] > 75
    other = {"instruction": "Was ist das?", "input": "", "first": "a", "second": "b"}
    assert answer("prefer", other, rng).text == REFUSAL
