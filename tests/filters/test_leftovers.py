"""What other assistants left in answers; the labelled cases are in `test_labelled_cases.py`."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.leftovers import leftovers

DISCLAIMER, REFUSAL = "As an AI language model, I say so.", "I cannot assist with that."
MARKUP = "<|im_end|>"
REWRITTEN, SYSTEM = "#Rewritten Prompt#:", "You are ChatGPT."
PIECES = (DISCLAIMER, REFUSAL, MARKUP, "Yes. ", "它是蓝色的。", "\n", "x" * 50, '"', "“", "”", "")


def reason(output: str | None, instruction: str | None = None, **settings: int) -> str | None:
    columns = (pl.Series([text], dtype=pl.String) for text in (instruction, None, output))
    return leftovers(*columns, **settings)["reason"][0]  # type: ignore[no-any-return]


def quoted(before: str) -> bool:
    paragraph = before.split("\n")[-1]
    return paragraph.count('"') % 2 == 1 or paragraph.count("“") > paragraph.count("”")


def slow(pieces: list[str], opening: int) -> str | None:
    text = "".join(pieces)
    places: dict[str, list[int]] = {DISCLAIMER: [], REFUSAL: [], MARKUP: []}
    for phrase, found in places.items():
        for at in range(len(text)):
            begins = at == 0 or not (text[at - 1].isalnum() and phrase != MARKUP)
            if begins and text.startswith(phrase, at):
                found.append(at)
    if places[MARKUP]:
        return "chat_markup"
    if any(at < opening and not quoted(text[:at]) for at in places[REFUSAL]):
        return "assistant_refusal"
    if any(not quoted(text[:at]) for at in places[DISCLAIMER]):
        return "assistant_disclaimer"
    return None


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.integers(1, 200))
def test_a_phrase_counts_where_the_slow_version_finds_it(pieces: list[str], opening: int) -> None:
    assert reason("".join(pieces), opening=opening) == slow(pieces, opening)


TASKS = st.lists(
    st.sampled_from((REWRITTEN, SYSTEM, "Go on. ", "说吧。", "\n", '"', "“", "”", "x"))
)


def slow_prompt(task: str, answer: str) -> str | None:
    for phrase in (REWRITTEN, SYSTEM):
        if holds(phrase, answer) and not holds(phrase, task):
            return "leaked_prompt"
    begins = [at for at in range(len(task)) if task.startswith(REWRITTEN, at)]
    return "leaked_prompt" if any(not quoted(task[:at]) for at in begins) else None


def holds(phrase: str, text: str) -> bool:
    """Whether a text has a phrase, one of words at the beginning of a word."""
    places = (at for at in range(len(text)) if text.startswith(phrase, at))
    return any(phrase == REWRITTEN or at == 0 or not text[at - 1].isalnum() for at in places)


@given(TASKS, TASKS)
def test_a_prompt_counts_where_the_slow_version_finds_it(task: list[str], said: list[str]) -> None:
    found = reason("".join(said), "".join(task))
    assert found == slow_prompt("".join(task), "".join(said))
    assert reason("".join(said), "".join(task), prompts=False) is None


def test_a_refusal_begins_within_the_opening() -> None:
    text = "." * 19 + " " + REFUSAL
    assert reason(text, opening=21) == "assistant_refusal"
    assert reason(text, opening=20) is None


def test_each_kind_can_be_left_out() -> None:
    text = f"{REFUSAL} {DISCLAIMER} {MARKUP}"
    assert reason(text) == "chat_markup"
    assert reason(text, markup=False) == "assistant_refusal"
    assert reason(text, markup=False, refusals=False) == "assistant_disclaimer"
    assert reason(text, markup=False, refusals=False, disclaimers=False) is None


def test_a_null_is_empty() -> None:
    assert reason(None) is None
    assert reason(DISCLAIMER, None) == "assistant_disclaimer"


@pytest.mark.parametrize("task", ["Write an e-mail.", "Translate it.", "写一封邮件。"])
def test_where_somebody_is_to_speak_only_what_an_assistant_says_is_a_refusal(task: str) -> None:
    assert reason("I'm sorry, but I cannot come.", task) is None
    assert reason("I'm sorry, but I can't assist with that.", task) == "assistant_refusal"


def test_words_that_the_task_itself_holds_are_no_leftover() -> None:
    assert reason(DISCLAIMER, "Repeat: " + DISCLAIMER) is None
    assert reason(f"{MARKUP} ends a turn.", f"What does {MARKUP} mean?") is None
