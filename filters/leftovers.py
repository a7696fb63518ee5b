"""Answers that another assistant left behind: it speaks of itself, refuses, or shows its markup.

The rules are ours; the phrases are data (`filters/words`), English and Chinese. An answer that is
about assistants is none: a phrase counts in the first person only, where an answer speaks for
itself. One in quotation marks is somebody else's, and so is one deeper in a dialogue, a letter or a
story that was asked for, or anywhere in the part of an assistant. `filters.refusal` is the rule of
Evol-Instruct, any apology in few words.
"""

from __future__ import annotations

import re

import polars as pl

from filters.bounds import NoneOrMore
from filters.verdict import verdict
from filters.word_lists import one_of

SPOKEN_FOR_ITSELF = 80
"""Characters within which an answer to somebody who asked for a part to be played is not in it."""
QUOTES = (("“", "”"), ("「", "」"), ("『", "』"), ("‘", "’"), ("«", "»"))
SPEAKER = re.compile(r"^[ \t>*_-]*[\w .]{1,24}[*_]*\s?[:：]")
ASSISTANT = re.compile(r"\bAIs?\b|robot|chatbot|assistant|artificial|机器人|人工智能|助手|助理")
APOLOGY = re.compile(r"\bsorry\b|apolog|抱歉|对不起|道歉", re.IGNORECASE)
ASKS_FOR_PROMPT = re.compile(
    r"\bprompts?\b.*\b(?:model|chat ?bot|bot|assistant|AI|injection)\b|system prompt"
    r"|系统提示|提示词|提示注入",
    re.IGNORECASE,
)
BEFORE = 40
AFTER = 80


def leftovers(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    opening: NoneOrMore = 120,
    disclaimers: bool = True,
    refusals: bool = True,
    markup: bool = True,
    prompts: bool = True,
) -> pl.DataFrame:
    """Drop answers with what another assistant says of itself, its refusals, markup or prompts.

    A refusal begins in the first `opening` characters, whatever stands further down. A
    `leaked_prompt` may stand in the instruction too, outside quotation marks: what was to be
    rewritten, or the list of tasks to go on with; a system prompt in the answer alone, where none
    was asked for. A null is empty. Returns one row an entry, in order: `reason` (String, null where
    the row is kept) and `detail` (String: the phrase with what is around it; null where the row is
    kept).
    """
    lists = {
        "chat_markup": ("chat_markup",) if markup else (),
        "leaked_prompt": ("leaked_prompts", "system_prompts") if prompts else (),
        "assistant_refusal": ("refusals",) if refusals else (),
        "assistant_disclaimer": ("disclaimers",) if disclaimers else (),
    }
    answers = output.fill_null("")
    reasons: list[str | None] = [None] * len(answers)
    details: list[str | None] = [None] * len(answers)
    for reason, names in lists.items():
        for name in names:
            pattern = one_of(name)
            texts = answers.str.head(opening + AFTER) if name == "refusals" else answers
            hits = texts.str.contains(f"(?i){pattern.pattern}").arg_true().to_list()
            for at in hits:
                if reasons[at] is not None:
                    continue
                task, text = f"{instruction[at] or ''}\n{input[at] or ''}", answers[at]
                if name == "system_prompts" and ASKS_FOR_PROMPT.search(task):
                    continue
                met = _met(pattern, task, text, reason, opening)
                if met is not None:
                    reasons[at] = reason
                    details[at] = _shown(text, met)
    if prompts:
        _find_in_tasks(instruction, reasons, details)
    return verdict(reasons, details)


def _find_in_tasks(
    instruction: pl.Series, reasons: list[str | None], details: list[str | None]
) -> None:
    pattern = one_of("leaked_prompts")
    tasks = instruction.fill_null("")
    for at in tasks.str.contains(f"(?i){pattern.pattern}").arg_true().to_list():
        task = tasks[at]
        met = next(
            (one for one in pattern.finditer(task) if not _is_quoted(task, one.start())), None
        )
        if met is not None and reasons[at] is None:
            reasons[at], details[at] = "leaked_prompt", f"instruction: {_shown(task, met)}"


def _met(
    pattern: re.Pattern[str], task: str, text: str, reason: str, opening: int
) -> re.Match[str] | None:
    """The first place where the answer itself says one of the phrases."""
    if reason in ("chat_markup", "leaked_prompt"):
        return None if pattern.search(task) else pattern.search(text)
    somebody_speaks = one_of("somebody_speaks").search(task) is not None
    if somebody_speaks and ASSISTANT.search(task):
        return None
    last = SPOKEN_FOR_ITSELF if somebody_speaks else len(text)
    if reason == "assistant_refusal":
        last = min(last, opening)
        if somebody_speaks and APOLOGY.search(task):
            return None
        if somebody_speaks and not one_of("outright_refusals").search(text[: opening + AFTER]):
            return None
    for met in pattern.finditer(text):
        if met.start() >= last:
            return None
        is_said = somebody_speaks and _is_spoken(text, met.start())
        if not is_said and not _is_quoted(text, met.start()) and met[0] not in task:
            return met
    return None


def _is_quoted(text: str, at: int) -> bool:
    """Whether a quotation that began in the same paragraph is open there."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    if before.count('"') % 2:
        return True
    return any(before.count(opens) > before.count(closes) for opens, closes in QUOTES)


def _is_spoken(text: str, at: int) -> bool:
    """Whether the line is said by somebody who is named before a colon."""
    return SPEAKER.match(text[text.rfind("\n", 0, at) + 1 : at]) is not None


def _shown(text: str, met: re.Match[str]) -> str:
    begin = max(0, met.start() - BEFORE)
    return " ".join(text[begin : met.end() + AFTER].split())
