import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.stages.instance_blocks import (
    Instance,
    Parsed,
    parse_input_first,
    parse_output_first,
)

PIECES = [
    "Example",
    "Example 1",
    "Example 2.",
    "Output:",
    "Output 2 :",
    "Outputs",
    "Input:",
    "Input1:",
]
PIECES += ["Class label:", "class label:", "goose", "geese", "\n", " ", "\u3000", "\x0b"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def slow_input_first(text: str) -> list[tuple[str, str]]:
    """Say the published rule again, step by step."""
    text = text.strip()
    blocks = [block for block in re.split(r"Example\s?\d*\.?", text) if block.strip()]
    if "Example" not in text:
        if not re.search(r"Output\s*\d*\s*:", text):
            return []
        blocks = [text]
    found = []
    for block in blocks:
        parts = re.split(r"Output\s*\d*\s*:", block.strip())
        given, answer = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
        answer = re.split(r"Input\s*\d*\s*:", answer)[0]
        found.append((re.sub(r"^Input\s*\d*\s*:", "", given.strip()).strip(), answer.strip()))
    return found


def slow_output_first(text: str) -> list[tuple[str, str]]:
    found = []
    for block in text.split("Class label:")[1:]:
        lines = block.strip().split("\n")
        found.append(("\n".join(lines[1:]).strip(), lines[0].strip()))
    return found


def pairs(parsed: Parsed) -> list[tuple[str, str]]:
    return [(each.input, each.output) for each in parsed.instances]


@given(TEXTS)
@example("ExampleOutputs\n Outputs")
def test_replies_without_markdown_are_read_as_published(text: str) -> None:
    assert pairs(parse_input_first(text)) == slow_input_first(text)
    assert pairs(parse_output_first(text)) == slow_output_first(text)


@given(TEXTS)
def test_of_a_cut_off_reply_the_last_instance_is_set_apart(text: str) -> None:
    for parse in (parse_input_first, parse_output_first):
        whole, cut = parse(text), parse(text, cut_off=True)
        assert whole.cut_off is None
        assert [*cut.instances, *([cut.cut_off] if cut.cut_off else [])] == whole.instances
        assert (cut.cut_off is None) == (whole.instances == [])


@pytest.mark.parametrize(
    "reply",
    [
        "Example 1\nNoun: goose\nOutput: geese\nExample 2\nNoun: index\nOutput: indices",
        "Example 1:\nNoun: goose\nOutput: geese\n\nExample 2:\nNoun: index\nOutput: indices",
        "**Example 1**\nNoun: goose\n**Output:** geese\n"
        "**Example 2:**\nNoun: index\n**Output**: indices",
        "### Example 1\nInput: Noun: goose\nOutput: geese\n\n"
        "### Example 2\nNoun: index\nOutput: indices",
    ],
)
def test_chat_models_may_mark_up_the_field_names(reply: str) -> None:
    expected = [Instance("Noun: goose", "geese"), Instance("Noun: index", "indices")]
    assert parse_input_first(reply).instances == expected


def test_bold_class_labels_are_read_too() -> None:
    reply = "**Class label:** Yes\nReview: Fine.\n\n**Class label**: No\nReview: Cold."
    expected = [Instance("Review: Fine.", "Yes"), Instance("Review: Cold.", "No")]
    assert parse_output_first(reply).instances == expected


def test_markdown_inside_an_output_stays() -> None:
    reply = "Output: # Title\n\n**Note:** read on.\n## Results"
    assert (
        parse_input_first(reply).instances[0].output == "# Title\n\n**Note:** read on.\n## Results"
    )


def test_a_reply_without_any_marker_has_no_instances() -> None:
    assert parse_input_first("I would rather not.") == Parsed([])
    assert parse_output_first("Label: Yes", cut_off=True) == Parsed([])
