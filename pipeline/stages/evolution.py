"""The operations of `evolve`, what a teacher's rewriting says, and how far rewritings have come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from filters import prompt_leak, refusal
from filters.script import is_han_kana_hangul
from filters.stop_words import ENGLISH
from pipeline.stage import IDENTITY, Request, Row, Settings
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.says_none import says_none

INPUT = re.compile(r"[#*_ \t]*(?:(?:Its )?Input|输入|輸入)[#*_ \t]*[:：]\**[ \t]*", re.IGNORECASE)
MARKER = re.compile(r".*Prompt#:|\ANew Prompt:(?=\s)", re.DOTALL)
ANNOUNCED = re.compile(
    r"\**(?:(?:sure|certainly|of course|okay|absolutely)\b[^\n]*|here(?:'s|’s| is)\b[^\n]*"
    r"\b(?:task|prompt|instruction|question|version)\b[^\n]*):\**[ \t]*\n\s*(?=\S)",
    re.IGNORECASE,
)
WRAPPED = re.compile(
    r"""(?:\*\*(?P<bold>(?:(?!\*\*).)+)\*\*|"(?P<quoted>[^"]+)"|“(?P<curly>[^“”]+)”)""", re.DOTALL
)
OUTPUT = re.compile(r"[#*_ \t]*(?:Output|输出|輸出)[#*_ \t]*[:：]", re.IGNORECASE)
FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
REFUSED = re.compile(
    rf"\W*(?:(?:I|we)\W*(?:a?m|a?re)\s+(?:\w+\s+)?|unfortunately\W+|很|非常)?"
    rf"(?:{refusal.APOLOGY.pattern})",
    re.IGNORECASE,
)
CONSTRAINT = re.compile(
    r"\b(?:must(?: not)?|do not|don't|at (?:most|least)|no more than|exactly|only|without|below|"
    r"within|avoid|end with|begin with|write it for)\b|必须|不要|不得|至少|最多|只能|不超过|仅",
    re.IGNORECASE,
)
STEP = re.compile(
    r"\b(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|then|next|after that|finally|before you|lastly|"
    r"step \d+)\b|首先|其次|然后|接着|最后|第[一二三四五六七八九十]步",
    re.IGNORECASE,
)
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


class Operation(Settings):
    """One way to rewrite a task: deeper, or broader into another; its template and its chances."""

    kind: Annotated[Literal["depth", "breadth"], IDENTITY]
    template: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"), IDENTITY]
    weight: Annotated[float, Field(ge=0), IDENTITY] = 1.0


OPERATIONS: dict[str, dict[str, Any]] = {
    "constraints": {"kind": "depth", "template": "evolve-constraints"},
    "deepen": {"kind": "depth", "template": "evolve-deepen"},
    "concretize": {"kind": "depth", "template": "evolve-concretize"},
    "reasoning": {"kind": "depth", "template": "evolve-reasoning"},
    "complicate": {"kind": "depth", "template": "evolve-complicate"},
    "breadth": {"kind": "breadth", "template": "evolve-breadth"},
}


def with_given(given: dict[str, Any]) -> dict[str, Any]:
    """The six operations with what a recipe says of them, and those that it adds."""
    named = {name: dict(one) if isinstance(one, dict) else one for name, one in given.items()}
    return {
        name: {**OPERATIONS.get(name, {}), **named[name]}
        if isinstance(named.get(name, {}), dict) and name in named
        else named.get(name, OPERATIONS.get(name))
        for name in dict.fromkeys((*OPERATIONS, *named))
    }


@dataclass(frozen=True, slots=True)
class Source:
    """A task that may be rewritten: its texts, what made it, its id or place among the entries.

    `path` names the rewritings that led to it; its draws hang on that alone, so that another
    branch's fate does not change them.
    """

    instruction: str
    input: str
    path: str = ""
    place: int | str = 0
    made_by: tuple[Request, ...] = ()

    @property
    def values(self) -> dict[str, str]:
        """What a template is rendered with."""
        return {"instruction": self.instruction, "input": self.input}

    def draw(self, operations: dict[str, Operation], key: int, number: int) -> str:
        """The operation of round `number`, by name; the order of a recipe plays no part."""
        names = sorted(operations)
        weights = [operations[name].weight for name in names]
        return Random(f"{key}:{self.path}:{number}").choices(names, weights)[0]


def read_task(text: str, parent: Source, kind: str) -> tuple[str, str]:
    """Instruction and input of a rewriting.

    Without a part that begins with `Input:`, or with one that says that there is none, a deeper
    task keeps the input of its parent, and a new one has none. What goes up to a marker that begins
    an answer ("#New Prompt#:", "New Prompt:") is taken off, as h2o-wizardlm does, and so is what
    chat models set before a task ("Sure, here is a harder version:") and round it, bold or quotes,
    unless the parent is like that. Phrases that the prompt forbids are left where they are:
    they are a reason to drop a row.
    """
    instruction, given = _parted(clean_reply(text).strip())
    if prompt_leak.judge(instruction)[0] is None:
        if marker := MARKER.match(instruction):
            instruction = instruction[marker.end() :].strip()
        instruction = _bare(instruction, parent.instruction)
    if says_none(given):
        given = parent.input if kind == "depth" else ""
    return instruction, given


def _bare(text: str, parent: str) -> str:
    """A task without the line that announces it, and without what it is wrapped in."""
    if (line := ANNOUNCED.match(text)) and not ANNOUNCED.match(parent):
        text = text[line.end() :]
    if (wrapped := WRAPPED.fullmatch(text)) and not WRAPPED.fullmatch(parent):
        text = next(inner for inner in wrapped.groups() if inner is not None).strip()
    return text


def _parted(text: str) -> tuple[str, str]:
    """The text before the line that begins with `Input:`, and that after the colon.

    An `Input:` in a fence, and one that an `Output:` follows, belong to an example.
    """
    at, start, fence = 0, None, ""
    for line in text.splitlines(keepends=True):
        if found := FENCE.match(line):
            fence = _fence_after(line, found[1], fence)
        elif not fence and start is not None and OUTPUT.match(line):
            return text, ""
        elif not fence and start is None and text[:at].strip() and (found := INPUT.match(line)):
            start = at, at + found.end()
        at += len(line)
    if start is None:
        return text, ""
    return text[: start[0]].strip(), text[start[1] :].strip()


def _fence_after(line: str, marks: str, fence: str) -> str:
    """The marks of the fence that is open after a line that begins with some; empty without one."""
    if not fence:
        return marks
    is_end = marks.startswith(fence) and line.strip() == marks
    return "" if is_end else fence


def is_refused(text: str) -> bool:
    """Whether a text that should be a task begins with an apology instead.

    >>> is_refused("I'm so sorry, but I can't rewrite this."), is_refused("Write: sorry!")
    (True, False)
    """
    return REFUSED.match(text) is not None


def measures(kept: pl.DataFrame) -> dict[str, Any]:
    """`by_round`, 0 for what it began with: rows, mean words, constraints and steps; and domains.

    Words of an instruction are counted (signs where it is in Han, kana or hangul), and in it the
    words that limit (must, only, at most) and that order (first, then, finally). A domain stands
    for the pair of an instruction's first two telling words, as Self-Instruct shows its diversity.
    """
    by_round: list[dict[str, float]] = []
    domains: set[str] = set()
    rounds = kept["round"].fill_null(0)
    for number in sorted(rounds.unique()):
        rows = kept.filter(rounds == number)["instruction"].to_list()
        domains |= set(map(domain, rows))
        one = {"round": number, "rows": len(rows), "words": sum(map(length, rows)) / len(rows)}
        for name, pattern in (("constraints", CONSTRAINT), ("steps", STEP)):
            one[name] = sum(len(pattern.findall(text)) for text in rows) / len(rows)
        rounded = {name: round(value, 3) for name, value in one.items()}
        by_round.append(rounded | {"domains_so_far": len(domains)})
    return {"by_round": by_round}


def length(instruction: str) -> int:
    """Words, or signs of a text in Han, kana or hangul."""
    is_packed = is_han_kana_hangul(instruction)
    return len("".join(instruction.split())) if is_packed else len(instruction.split())


def domain(instruction: str) -> str:
    """The first two telling words; of a text in Han, kana or hangul the first four signs."""
    if is_han_kana_hangul(instruction):
        return "".join(instruction.split())[:4]
    telling = [word for word in WORD.findall(instruction.lower()) if word not in ENGLISH]
    return " ".join(telling[:2])


def descends(row: Row) -> Row:
    """What a child takes over from its starting row: where it comes from, and nothing it says."""
    origins: Row = {name: row[name] for name in ("source", "license") if name in row}
    return {**dict.fromkeys(row), **origins, "root_id": row.get("root_id") or row["row_id"]}
