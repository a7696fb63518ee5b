r"""Instances, an input with its output each, as a teacher writes them under an instruction.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `prepare_for_finetuning.py`
(`parse_instances_for_generation_task`, `..._classification_task`). What is wrong with an instance
is for the filters `outputs` and `instances` to say. One real reply to "Make the noun plural.",
input first:

    Example 1
    Noun: goose
    Output: geese

    Example 2
    Noun: index
    Output: indices

and one to "Is the review favourable?", output first:

    Class label: Yes
    Review: I came for tea and stayed for supper.
    Class label: No
    Review: The soup was as cold as the waiter.

Where we differ, for chat models: Markdown around a field name at the start of a line
("**Output:**", "### Example 1") is removed first, and a colon after "Example 1" does not go into
the input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

EXAMPLE = re.compile(r"Example\s?\d*\.?:?")
OUTPUT = re.compile(r"Output\s*\d*\s*:")
INPUT = re.compile(r"Input\s*\d*\s*:")
LABEL = "Class label:"
MARKED = re.compile(
    r"""^[ \t]*(?=[\#*])(?:\#{1,6}[ \t]+)?(?P<bold>\*\*)?
        (?P<field>(?:Example|Input|Output|Class[ ]label)(?![A-Za-z])[ \t]*\d*\.?[ \t]*(?P<colon>:)?)
        (?(bold)\*\*)(?(colon)|(?P<late>:?))""",
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Instance:
    """One input (empty if the task needs none) and its output, both stripped."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The instances of a reply, in order, and apart from them the one that the end cut off."""

    instances: list[Instance]
    cut_off: Instance | None = None


def parse_input_first(text: str, *, cut_off: bool = False) -> Parsed:
    r"""Read "Example N" blocks, or a single "Output:"; a reply with neither has no instances.

    Text before the first "Example" is a block too, and a block without "Output:" is all output, as
    published. With `cut_off` (the reply ended by length) the last instance is set apart.

    >>> parse_input_first("Noun: goose\nOutput: geese").instances
    [Instance(input='Noun: goose', output='geese')]
    """
    text = _plain(text).strip()
    if EXAMPLE.search(text):
        blocks = [block.strip() for block in EXAMPLE.split(text) if block.strip()]
    else:
        blocks = [text] if OUTPUT.search(text) else []
    return _parsed([_read_block(block) for block in blocks], cut_off=cut_off)


def parse_output_first(text: str, *, cut_off: bool = False) -> Parsed:
    r"""Read "Class label:" blocks: the first line is the output, the rest the input, maybe none.

    Text before the first label is left out. `cut_off` as in `parse_input_first`.

    >>> parse_output_first("Class label: No\nReview: The soup was cold.").instances
    [Instance(input='Review: The soup was cold.', output='No')]
    """
    found = []
    for block in _plain(text).split(LABEL)[1:]:
        label, _, rest = block.strip().partition("\n")
        found.append(Instance(rest.strip(), label.strip()))
    return _parsed(found, cut_off=cut_off)


def _plain(text: str) -> str:
    return MARKED.sub(lambda mark: mark["field"] + (mark["late"] or ""), text)


def _read_block(block: str) -> Instance:
    before, *after = OUTPUT.split(block)
    given, answer = (before.strip(), after[0]) if after else ("", block)
    if prefix := INPUT.match(given):
        given = given[prefix.end() :].strip()
    return Instance(given, INPUT.split(answer)[0].strip())


def _parsed(found: list[Instance], *, cut_off: bool) -> Parsed:
    return Parsed(found[:-1], found[-1]) if cut_off and found else Parsed(found)
