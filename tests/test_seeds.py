"""The seed tasks keep the rules of seeds/README.md."""

import json
import re
import string
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz.distance import LCSseq

SEEDS = Path(__file__).parents[1] / "seeds" / "en.jsonl"
LINES = SEEDS.read_text(encoding="utf-8").splitlines()
TASKS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
INSTANCES: list[tuple[str, str, str]] = [
    (task["name"], instance["input"], instance["output"])
    for task in TASKS
    for instance in task["instances"]
]

# what Self-Instruct throws out of a teacher's drafts; its own seeds should not need an excuse
UNSUITABLE = re.compile(
    r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE
)
# where parsers of teachers' instances split a reply
SPLITTER = re.compile(r"\bExamples?\b|Input\s?\d*\s?:|Output\s?\d*\s?:|Class label:|Task:")
# these mention a format that they read, and do not ask for it
READS_JSON = {"json_to_yaml"}
READS_PYTHON = {
    "explain_a_traceback",
    "predict_the_printout",
    "sql_injection_check",
    "worst_case_running_time",
}


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def are_alike(one: list[str], other: list[str]) -> bool:
    """Whether ROUGE-L F1 is 0.6 or more, in integers: no rounding at the bound."""
    return 10 * 2 * LCSseq.similarity(one, other) >= 6 * (len(one) + len(other))


def states(text: str, label: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE))


def outputs_asked_in(language: str, but_not: set[str]) -> list[tuple[str, str]]:
    asking = {t["name"] for t in TASKS if states(t["instruction"], language)} - but_not
    return [(name, output) for name, _, output in INSTANCES if name in asking]


def test_there_are_175_seed_tasks_with_consecutive_ids() -> None:
    assert [task["id"] for task in TASKS] == [f"seed_task_{n}" for n in range(175)]


def test_every_line_has_the_keys_of_self_instruct_in_their_order() -> None:
    for task in TASKS:
        keys = ["id", "name", "instruction", "instances", "is_classification"]
        assert list(task) == keys, task["id"]
        assert isinstance(task["is_classification"], bool), task["id"]
        assert task["instances"], task["id"]
        for instance in task["instances"]:
            assert list(instance) == ["input", "output"], task["id"]
            assert all(isinstance(text, str) for text in instance.values()), task["id"]


def test_every_line_is_plain_json_in_utf_8() -> None:
    for line, task in zip(LINES, TASKS, strict=True):
        assert line == json.dumps(task, ensure_ascii=False)


def test_names_are_unique_and_in_snake_case() -> None:
    names = [task["name"] for task in TASKS]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)] == []


def test_at_least_32_tasks_are_classifications() -> None:
    assert sum(task["is_classification"] for task in TASKS) >= 32


def test_at_least_55_tasks_need_no_input() -> None:
    without = [task for task in TASKS if all(not i["input"] for i in task["instances"])]
    assert len(without) >= 55


def test_two_sentences_with_three_of_five_words_in_common_are_alike() -> None:
    assert are_alike(tokens("Name one red fruit, please"), tokens("Name one red bird now"))


def test_two_sentences_with_two_of_five_words_in_common_are_not_alike() -> None:
    assert not are_alike(tokens("Name one red fruit, please"), tokens("Name one big bird now"))


def test_no_two_seed_tasks_are_alike() -> None:
    tokenized = [(task["instruction"], tokens(task["instruction"])) for task in TASKS]
    alike = [(a, b) for (a, x), (b, y) in combinations(tokenized, 2) if are_alike(x, y)]
    assert alike == []


def test_instructions_are_neither_all_short_nor_all_long() -> None:
    words = sorted(len(task["instruction"].split()) for task in TASKS)
    assert words[0] >= 4
    assert words[-1] <= 150
    assert words[10] <= 8
    assert words[-3] >= 50
    assert 15 <= sum(words) / len(words) <= 21


def test_no_first_word_starts_more_than_ten_instructions() -> None:
    first = Counter(tokens(task["instruction"])[0] for task in TASKS)
    assert [word for word, count in first.items() if count > 10] == []


def test_instructions_pass_the_rules_for_drafts() -> None:
    for task in TASKS:
        text = task["instruction"]
        assert text == " ".join(text.split())
        assert text[0].isascii(), text
        assert text[0] not in string.punctuation, text
        assert not text.endswith(":"), text
        assert not text.lower().startswith("write a program"), text
        assert not UNSUITABLE.search(text), text


@pytest.mark.parametrize(
    ("name", "given", "output"), INSTANCES, ids=[name for name, _, _ in INSTANCES]
)
def test_an_instance_passes_the_rules_for_instances(name: str, given: str, output: str) -> None:
    assert output.strip(), name
    assert output != given
    assert not given.endswith(":")
    assert not output.endswith(":")
    assert given == given.strip()
    assert output == output.strip()
    assert not SPLITTER.search(given + "\n" + output)


def test_a_task_never_gives_two_outputs_for_one_input() -> None:
    for task in TASKS:
        inputs = [instance["input"] for instance in task["instances"]]
        assert len(set(inputs)) == len(inputs), task["name"]


def test_the_label_of_a_classification_is_stated_in_its_instruction() -> None:
    for task in TASKS:
        if task["is_classification"]:
            for instance in task["instances"]:
                assert len(instance["output"].split()) <= 3, task["name"]
                assert states(task["instruction"], instance["output"]), task["name"]


def test_several_instances_of_a_classification_show_several_labels() -> None:
    for task in TASKS:
        if task["is_classification"] and len(task["instances"]) > 1:
            assert len({instance["output"] for instance in task["instances"]}) > 1, task["name"]


def test_outputs_are_json_where_the_instruction_asks_for_json() -> None:
    asked = outputs_asked_in("JSON", but_not=READS_JSON)
    assert len(asked) >= 5
    for _, output in asked:
        json.loads(output)


def test_outputs_compile_where_the_instruction_asks_for_python() -> None:
    asked = outputs_asked_in("Python", but_not=READS_PYTHON)
    assert len(asked) >= 6
    for name, output in asked:
        compile(output, name, "exec")


def test_rows_of_a_markdown_table_are_equally_wide() -> None:
    seen = 0
    for name, _, output in INSTANCES:
        for above, below in pairwise(output.splitlines()):
            if above.startswith("|") and below.startswith("|"):
                seen += 1
                assert above.count("|") == below.count("|"), name
    assert seen >= 20
