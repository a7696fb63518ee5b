import json
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import tags
from filters.tags import domain, language_of, task_type
from filters.word_lists import one_of

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases" / "tags.jsonl").read_text("utf-8").splitlines()
]
WORDS = [
    "Write",
    "a",
    "poem",
    "Python",
    "code",
    "law",
    "of",
    "the",
    "river",
    "?",
    "诗",
    "法律",
    "\n",
    "é",
]
TEXTS = st.none() | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


def said(case: dict[str, str | None]) -> dict[str, str | None]:
    columns = (pl.Series([case.get(name)], dtype=pl.String) for name in ("instruction", "input"))
    instruction, given_ = columns
    return {
        "domain": domain(instruction, given_, pl.Series([None], dtype=pl.String))[0],
        "task_type": task_type(instruction, given_)[0],
        "language": language_of(instruction)[0],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["instruction"][:40])
def test_a_labelled_case_is_tagged_as_it_is_labelled(case: dict[str, str | None]) -> None:
    assert said(case) == {name: case[name] for name in ("domain", "task_type", "language")}


def test_there_are_forty_cases_in_english_and_in_chinese_and_every_tag_has_one() -> None:
    chinese = [case for case in CASES if case["language"] == "zh"]
    assert len(chinese) >= 39
    assert len(CASES) - len(chinese) >= 40
    assert {case["domain"] for case in CASES} == {*tags.DOMAINS, tags.GENERAL}
    assert {case["task_type"] for case in CASES} == {*tags.TASK_TYPES}


def slow_domain(instruction: str, rest: str) -> str:
    counts = {}
    for name in tags.DOMAINS:
        pattern = one_of(f"domain/{name}").pattern.replace(r"\b", r"(?a:\b)")
        found = [len(re.findall(pattern, text, re.IGNORECASE)) for text in (instruction, rest)]
        counts[name] = tags.IN_INSTRUCTION * found[0] + found[1]
    most = max(counts.values())
    return next(name for name, n in counts.items() if n == most) if most >= 2 else tags.GENERAL


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=6))
def test_a_domain_is_that_of_the_slowest_count(rows: list[tuple[str | None, ...]]) -> None:
    columns = [pl.Series([row[at] for row in rows], dtype=pl.String) for at in range(3)]
    slow = [slow_domain(a or "", f"{b or ''}\n{c or ''}") for a, b, c in rows]
    assert domain(*columns).to_list() == slow


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6))
def test_a_task_type_is_the_first_whose_list_meets(rows: list[tuple[str | None, ...]]) -> None:
    columns = [pl.Series([row[at] for row in rows], dtype=pl.String) for at in range(2)]
    slow = []
    for instruction, given_ in rows:
        met = [
            name
            for name in (*tags.TASKS, "question")
            if re.search(
                one_of(f"task/{name}").pattern.replace(r"\b", r"(?a:\b)"),
                instruction or "",
                re.IGNORECASE,
            )
        ]
        first = met[0] if met else tags.OTHER
        if first == "question":
            first = tags.CLOSED if (given_ or "").strip() else tags.OPEN
        slow.append(first)
    assert task_type(*columns).to_list() == slow


def test_one_match_in_the_input_is_no_domain_and_two_are() -> None:
    plain = pl.Series(["Do it.", "Do it."])
    rest = pl.Series(["the court", "the court and its jury"])
    assert domain(plain, rest, pl.Series(["", ""])).to_list() == ["general", "law"]


def test_a_known_classification_is_one_whatever_it_says() -> None:
    texts = pl.Series(["Write a poem.", "Write a poem.", "Write a poem."])
    known = pl.Series([True, False, None])
    assert task_type(texts, texts, known).to_list() == ["classification", "writing", "writing"]


def test_letters_that_say_no_language_have_none() -> None:
    texts = pl.Series(["Où est la gare ?", "xyz qrs tuv", "42", None, "Name it: the river"])
    assert language_of(texts).to_list() == [None, None, None, None, "en"]


def test_a_model_tells_other_languages_apart() -> None:
    pytest.importorskip("py3langid")
    texts = pl.Series(["Wo liegt der nächste Bahnhof in dieser Stadt?", "把这句话翻译成法语。"])
    assert language_of(texts, by="model").to_list() == ["de", "zh"]
