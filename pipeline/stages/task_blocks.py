r"""Numbered blocks of Instruction, Input and Output, several whole tasks in one reply.

Source: Stanford Alpaca, `generate_instruction.py` (`post_process_gpt3_response`). The prompt ends
in "4. Instruction:"; one real reply to it:

     Name the tense of the sentence.
    4. Input:
    They will have left by noon.
    4. Output:
    Future perfect.
    ###
    5. Instruction: Say in one sentence what a ledger is.
    5. Input:
    <noinput>
    5. Output:
    A book in which a business writes down what it is paid and what it pays.

Where we differ: a block begins at its "N. Instruction:" at the start of a line, whatever N and
whatever "###" stands in an answer, so that one heading or skipped number loses nothing after it;
Input and Output are told apart by their names and carry the block's own number; other spellings of
"<noinput>" are empty too. As published, runs of whitespace inside a field stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER = re.compile(r"^[ \t]*(?:#{3,}[ \t]*)?\**(\d+)\s*\.\s+\**Instruction:\**", re.MULTILINE)
SEPARATOR = re.compile(r"(?:\n[ \t]*#[# \t]*)+\s*\Z|\A\s*#{3,}\s*\Z")
NO_INPUT = re.compile(r"<?\s*no[ _-]?input\s*>?\s*\.?|", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """One task, its texts stripped; `wrong` says why it is none, and `instruction` what there is.

    `is_whole` is false for the last block of a text that may have been cut off in it.
    """

    instruction: str
    input: str = ""
    output: str = ""
    wrong: str = ""
    is_whole: bool = True


def parse_blocks(text: str, *, first: int) -> list[Block]:
    r"""Read the blocks of a reply to a prompt that ends in "`first`. Instruction:".

    What stands before a header with that number announces the list and is no block.

    >>> parse_blocks(" Add up.\n4. Input:\n2 and 3\n4. Output:\n5", first=4)
    [Block(instruction='Add up.', input='2 and 3', output='5', wrong='', is_whole=False)]
    """
    headers = list(HEADER.finditer(text))
    starts = [(int(header[1]), header.start(), header.end()) for header in headers]
    if not any(number == first for number, _, _ in starts[:1]):
        starts.insert(0, (first, 0, 0))
    ends = [start for _, start, _ in starts[1:]] + [len(text)]
    blocks = []
    for (number, _, begin), end in zip(starts, ends, strict=True):
        chunk = text[begin:end]
        is_whole = end < len(text) or SEPARATOR.search(chunk) is not None
        blocks.append(_read_block(SEPARATOR.sub("", chunk), number, is_whole=is_whole))
    return blocks


def _read_block(chunk: str, number: int, *, is_whole: bool) -> Block:
    field = re.compile(rf"(?<!\w)\**{number}\s*\.\s+\**(Input|Output):\**")
    instruction, *rest = (part.strip() for part in field.split(chunk))
    names, texts = rest[::2], rest[1::2]
    if names != ["Input", "Output"]:
        said = ", ".join(names) or "no field"
        return Block(instruction, wrong=f"block {number} holds {said}", is_whole=is_whole)
    given, output = ("" if NO_INPUT.fullmatch(found) else found for found in texts)
    return Block(instruction, given, output, is_whole=is_whole)
