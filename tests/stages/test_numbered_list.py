import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.numbered_list import (
    clean_reply,
    encode_demonstration,
    split_items,
    without_title,
)

TEXTS = st.text(st.sampled_from(list("ab19. \n\t\r\xa0١²)*:`<>")), max_size=40)


@given(TEXTS)
def test_items_are_those_of_the_published_expression(text: str) -> None:
    plain = text.replace("*", "")
    published = [" ".join(item.split()) for item in re.split(r"\n\d+\s?\. ", plain)]
    assert split_items(plain) == published


@given(TEXTS, st.integers(1, 20))
def test_what_a_chat_model_puts_before_the_first_item_changes_no_other_item(
    text: str, first: int
) -> None:
    items = split_items(f" {text}"[1:].lstrip())
    assert split_items(f"Here they are:\n{first}. {text}", first=first)[1:] == items[1:]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (" Name a river.\n10. Name a lake.", ["Name a river.", "Name a lake."]),
        ("9. Name a river.\n10. Name a lake.", ["Name a river.", "Name a lake."]),
        ("\n\n9. Name a river.\n10. Name a lake.", ["Name a river.", "Name a lake."]),
        ("Gladly:\n\n9. Name a river.\n10. Name a lake.", ["Name a river.", "Name a lake."]),
        ("1. Name a river.\n2. Name a lake.", ["1. Name a river.", "Name a lake."]),
        ("90. Name a river.", ["90. Name a river."]),
        ("9.5 is what in words?", ["9.5 is what in words?"]),
        (" Name a river.\n10) Name a lake.", ["Name a river. 10) Name a lake."]),
        (" Name a river.\n10. ", ["Name a river.", ""]),
        ("", [""]),
    ],
)
def test_only_the_number_that_the_prompt_ended_with_goes(text: str, items: list[str]) -> None:
    assert split_items(text, first=9) == items


def test_an_item_keeps_its_capitals() -> None:
    assert split_items("explain SQL to\n  a Python user") == ["explain SQL to a Python user"]


@pytest.mark.parametrize(
    ("reply", "cleaned"),
    [
        ("<think>Hm.\nWell.</think>\n\nYes", "\n\nYes"),
        ("\n<THINK>Hm.</think>Yes", "Yes"),
        ("<think></think><think>More.</think>Yes", "Yes"),
        ("<think>Hm, and then the tokens ran", ""),
        ("Hm, the user wants a yes.\n</think>\nYes", "\nYes"),
        ("<think>Hm.</think>Write about </think> tags", "Write about </think> tags"),
        ("Explain what `</think>` is for.", "Explain what `</think>` is for."),
        ("Say <think> aloud.", "Say <think> aloud."),
        ("```\n9. Yes\n```", "9. Yes"),
        ("\n~~~markdown\n9. Yes\n10. No\n~~~\n", "9. Yes\n10. No"),
        ("<think>Hm.</think>\n```text\nYes\n```", "Yes"),
        ("```\nx = 1\n```\nand\n```\ny = 2\n```", "```\nx = 1\n```\nand\n```\ny = 2\n```"),
        ("Run this:\n```\nx = 1\n```", "Run this:\n```\nx = 1\n```"),
        (" Yes \n", " Yes \n"),
        ("", ""),
    ],
)
def test_thoughts_and_the_fence_around_a_reply_go_and_nothing_else(
    reply: str, cleaned: str
) -> None:
    assert clean_reply(reply) == cleaned


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("**Naming:** Suggest a name for a bakery.", "Suggest a name for a bakery."),
        ("**Naming**: Suggest a name for a bakery.", "Suggest a name for a bakery."),
        ("**Naming** - Suggest a name for a bakery.", "Suggest a name for a bakery."),
        ("**Naming** – Suggest a name for a bakery.", "Suggest a name for a bakery."),
        ("**Suggest a name for a bakery.**", "Suggest a name for a bakery."),
        ("**Naming:** Suggest names.", "Naming: Suggest names."),
        (
            "**Translate to French:** Good morning, Paris.",
            "Translate to French: Good morning, Paris.",
        ),
        ("**What is wrong here**: He go to school.", "What is wrong here: He go to school."),
        ("**One two three four five six:** a b c", "a b c"),
        (
            "**One two three four five six seven:** a b c",
            "One two three four five six seven: a b c",
        ),
        ("**Never** use the passive voice here.", "Never use the passive voice here."),
        ("Use **bold** for one word.", "Use **bold** for one word."),
        ("**kwargs is what in Python?", "**kwargs is what in Python?"),
        ("2 ** 3 ** 2 is how much?", "2 ** 3 ** 2 is how much?"),
        ("__init__ does what in Python?", "__init__ does what in Python?"),
        ("**", "**"),
    ],
)
def test_a_bold_title_goes_if_it_is_one(item: str, text: str) -> None:
    assert without_title(item) == text


@pytest.mark.parametrize(
    ("instruction", "line"),
    [
        ("Sort the list:\n[2, 1]:", "Sort the list: [2, 1]"),
        ("Name a river::", "Name a river"),
        ("Name a river :", "Name a river "),
        ("Name a river：", "Name a river："),
        (" \n", ""),
    ],
)
def test_a_demonstration_is_one_line_without_a_colon_at_its_end(
    instruction: str, line: str
) -> None:
    assert encode_demonstration(instruction) == line
