"""What texts give for tasks about themselves: labelled examples in English and Chinese."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.heuristic_values import (
    GAP,
    HEURISTICS,
    continuation,
    gap_sentence,
    gap_word,
    is_prose,
    keywords,
    shuffled,
    tagged,
    title,
)

ENGLISH = (
    "The harbour wakes early. Boats come in with the first light, and their crews sort the catch. "
    "By noon the boats are clean again and the harbour is quiet. Only the gulls stay."
)
CHINESE = (
    "港口很早就醒了。渔船随着第一缕阳光进港，船员们忙着分拣渔获。"
    "到了中午，渔船又洗得干干净净，港口安静下来。只有海鸥还留在那里。"
)
RNG = Random(3)
TEXTS = st.text("ab .!?。！？，渔船港口\n1-", max_size=80)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It rains. Stay in.", True),
        ("下雨了。待在家里吧。", True),
        ("The answer is 42, he said.", True),
        ("1. Rain\n2. Snow", False),
        ("1、下雨\n2、下雪", False),
        ("- one\n- two", False),
        ("* 一\n* 二", False),
        ("a) one\nb) two", False),
        ("（1）下雨了，快回家吧，别淋湿了。", False),
        ("```\nx\n```", False),
        ("| a | b |\n|---|---|", False),
        ("# Heading\ntext", False),
        ("import os\nprint(1);", False),
        ("2*3 = 6\n6+4 = 10", False),
        ("5 × 2 = 10", False),
        ("<p>text</p>", False),
        ("", True),
    ],
)
def test_prose_is_told_from_code_sums_and_lists(text: str, wanted: bool) -> None:
    assert is_prose(text) is wanted


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_a_text_is_cut_at_the_end_of_a_sentence_near_its_middle(text: str) -> None:
    for seed in range(5):
        found = continuation(text, Random(seed))
        beginning, ending = found["beginning"], found["ending"]
        assert "".join((beginning + ending).split()) == "".join(text.split())
        assert beginning[-1] in ".。"
        assert len(text) <= 4 * (len(beginning) + 1) <= 3 * (len(text) + 4)


@pytest.mark.parametrize("text", ["One sentence alone.", "只有一句话。", "", "Hi. " + "a" * 99])
def test_what_has_no_sentence_near_its_middle_is_not_cut(text: str) -> None:
    assert continuation(text, RNG) == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (ENGLISH, "The harbour wakes early"),
        (CHINESE, "港口很早就醒了"),
        ("Quiet Harbours\n" + "The boats are in. " * 5, "Quiet Harbours"),
        ("Which boat? " + "The boats are in. " * 5, None),
        ("These are the boats:\n" + "The boats are in. " * 5, None),
        ("They are as follows：\n" + "The boats are in. " * 5, None),
        ("Short. And short.", None),
        ("The boats " * 20 + "are in. " + "The boats are in. " * 5, None),
        ("船都在。" + "港口。", None),
        ("这是" * 16 + "。" + "渔船都进港了。" * 5, None),
        ("No end at all", None),
    ],
)
def test_the_first_sentence_is_a_title_where_it_is_short(text: str, wanted: str | None) -> None:
    found = title(text, RNG)
    assert found.get("title") == wanted
    if wanted:
        assert text.strip().endswith(found["body"])


def test_keywords_recur_and_stand_in_the_order_of_the_text() -> None:
    found = keywords(ENGLISH, Random(1))["keywords"].split(", ")
    assert {"harbour", "boats"} <= set(found)
    assert found == sorted(found, key=ENGLISH.casefold().find)
    assert not {"with", "again", "only"} & set(found)
    chinese = keywords(
        "渔船进港。渔船卸货。渔获上岸，港口忙碌。港口的渔获很多，船员高兴，船员唱歌。", Random(1)
    )
    assert set(chinese["keywords"].split("、")) <= {"渔船", "港口", "渔获", "船员"}


@pytest.mark.parametrize(
    "text", ["Too short a text.", "短短一句。", "可以可以可以，因为因为所以。" * 3]
)
def test_a_text_that_says_little_has_no_keywords(text: str) -> None:
    assert keywords(text, RNG) == {}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_sentences_are_shuffled_and_their_order_is_known(text: str) -> None:
    for seed in range(5):
        found = shuffled(text, Random(seed))
        lines = [line.partition(". ")[2] for line in found["shuffled"].split("\n")]
        order = [int(number) for number in found["order"].split(", ")]
        between = " " if text is ENGLISH else ""
        assert between.join(lines[number - 1] for number in order) == text == found["ordered"]
        assert order != sorted(order)


@pytest.mark.parametrize(
    "text",
    [
        "One. Two here.",
        "Same one. Same one. Other one.",
        "A long one. " * 9,
        "好。是的啊。走了吧。",
    ],
)
def test_too_few_equal_or_tiny_sentences_are_not_shuffled(text: str) -> None:
    assert shuffled(text, RNG) == {}


def test_a_gap_takes_a_word_that_stands_once_and_says_something() -> None:
    for seed in range(20):
        found = gap_word(ENGLISH, Random(seed))
        assert found["word_gap"].replace(GAP, found["word"]) == ENGLISH
        assert ENGLISH.casefold().count(found["word"].casefold()) == 1
        assert found["word"].casefold() not in ("with", "again", "only", "the")
    assert gap_word("Few words here, sorry.", RNG) == {}
    assert gap_word(CHINESE, RNG) == {}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_a_gap_takes_an_inner_sentence(text: str) -> None:
    for seed in range(5):
        found = gap_sentence(text, Random(seed))
        assert found["sentence_gap"].replace(GAP, found["sentence"]) == text
        assert not found["sentence_gap"].startswith(GAP)
    assert gap_sentence(text[:12], RNG) == {}


@pytest.mark.parametrize(
    ("tokens", "tags", "text", "entities"),
    [
        ('["Ada", "met", "Bo"]', '["B-PER", "O", "B-PER"]', "Ada met Bo", "Ada (PER), Bo (PER)"),
        ('["New", "York"]', '["B-LOC", "I-LOC"]', "New York", "New York (LOC)"),
        ('["A", "B"]', '["B-LOC", "B-LOC"]', "A B", "A (LOC), B (LOC)"),
        ('["A", "B"]', '["I-LOC", "I-PER"]', "A B", "A (LOC), B (PER)"),
        ('["A", "b", "C"]', '["1", "O", "1"]', "A b C", "A (1), C (1)"),
        ('["It", "rains"]', '["O", "O"]', "It rains", "none"),
        ('["阿", "达", "来"]', '["B-人", "I-人", "O"]', "阿达来", "阿达（人）"),
        ('["下", "雨"]', '["O", "O"]', "下雨", "无"),
    ],
)
def test_tags_become_a_list_of_names(tokens: str, tags: str, text: str, entities: str) -> None:
    found = tagged(tokens, tags, lambda label: label)
    assert found == {"tagged_text": text, "entities": entities}


@pytest.mark.parametrize(
    ("tokens", "tags"), [("[", "[]"), ('["a"]', "[]"), ('"a"', '"O"'), ("{}", "{}")]
)
def test_what_is_not_tagged_gives_nothing(tokens: str, tags: str) -> None:
    assert tagged(tokens, tags, lambda label: label) == {}


@given(TEXTS, st.integers(0, 9))
def test_no_text_breaks_a_heuristic_and_none_invents_words(text: str, seed: int) -> None:
    for function in dict.fromkeys(HEURISTICS.values()):
        for name, value in function(text, Random(seed)).items():
            own = set(text) | set(GAP) | set("0123456789., 、\n")
            assert set(value) <= own | {char.casefold() for char in text}, name
