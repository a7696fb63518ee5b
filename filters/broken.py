"""Answers that are broken: cut off, garbled, or caught in a loop.

The rules are ours. That an answer was cut off can be told where something is open at its end: a
fence, a bracket, a quotation, a list item, a sentence among whole ones. One that ends with a whole
word in a text without full stops cannot be told from one that was to end there, and is kept.
"""

from __future__ import annotations

import re

import polars as pl

from filters.bounds import Several, Some
from filters.code import FENCE, is_code, without_fenced
from filters.sentences import SIGNS as SIGN
from filters.sentences import TOKEN
from filters.verdict import verdict
from filters.verse import asks_for_verse
from filters.word_lists import one_of

TAIL = 4_000  # characters at the end in which a loop is looked for
SEED = 24  # characters at the very end that have been there before, where there is a loop
LAST = 300  # characters at the end in which signatures and the like are looked for
SHOWN = 80
BLANKS = " \t\r\n\x0b\x0c\u00a0\u3000\u200b\ufeff"

TERMINAL = ".!?。！？…．｡؟।~～"
CLOSING = "\"'”’)]}）】」』》〉>*_`|»"
ENDS = re.compile(
    rf"(?<!\b[A-Za-z])(?<!\b[DMJS]r)(?<!\bM[sx])(?<!\bMrs)(?<!\bSt)(?<!\bvs)(?<!\b(?:No|Co|Lt))"
    rf"(?<!\b(?:Inc|Ltd|etc))(?<![\d.])[.!?…](?=[\s\"'”’)*]|[{SIGN}]|$)|[。！？]"
)
ITEM = re.compile(
    r"^[ \t]*(?:[-*•·–]|\(?(?:\d{1,3}|[a-zA-Z])[.)、）]|[①-⑳])(?:[ \t]+|(?<=[、）])|$)"
)
EMPTY_ITEM = re.compile(r"\n[ \t]*(?:(?:\d{1,3}|[B-Zb-z])[.)、]|[-*•])[ \t]*$")
OPEN_WORD = re.compile(
    r"(?:^|\s)(?:the|an|and|or|of|because|whose|than|their|its|your|our|very|including|such as"
    r"|as well as|is a|are a|was a|of a|in a|to a|with a|and a|by a|for a|as a)$"
)
OPEN_SIGN = re.compile(
    r"(?:[，、：,:—]|\s[-–]|因为|以及|并且|或者|例如|比如|包括|由于|如果|[和与或及])$"
)
ANSWERED = re.compile(
    r"(?:[\d%°=+×÷$€£¥;；]|\d[年月日]|#\w+|://\S*|\S+@\S+|\w\.\w+|[^\w\s，、：,:—])$"
)
SIGNED = re.compile(
    r"(?:^|[.!?]\s+|\n)(?:Yours|Sincerely|Best|Kind|Warm|Regards|Love|With|Respectfully|Cheers|Thanks?)\b"
    r"[^!?\n]{0,60}$|[\"”]\s*[-–—]+\s*\w[^.!?]*$|[-–—]\s?(?:[A-Z][\w.'’-]*\s?){1,4}$|(?:敬上|谨上|此致|敬礼|祝好|真诚地?|真挚地)[，,]?$"
)
SAID = re.compile(r"^[\w .]{1,24}:\s")
EQUATION = re.compile(r"=\s*[$€£]?\d")
BRACKETS = {")": "(", "]": "[", "}": "{", "】": "【", "」": "「", "』": "『", "”": "“"}
NARROW = str.maketrans("（）｛｝［］", "(){}[]")  # which are mixed with their like
OPENING = frozenset(BRACKETS.values())
OPEN_AMONG_SIGNS = re.compile(rf"[{SIGN}].*[(「『【“][^)」』】”]*[{SIGN}]$")
SMILEY = re.compile(
    r"[:;=8][-']?[()\[\]{}]+|(?:(?<![()\[\]])|(?<=\w\)))[()\[\]]+[-']?[:;=](?!\w)|\b\d{1,3}\)"
    r"|^[ \t]*\w\)",
    re.M,
)
BLOCKS = {'"""': '"""', "'''": "'''", "/*": "*/", "<!--": "-->"}
"""Literals and comments of several lines: how they begin and end."""
LITERAL = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`(?:\\.|[^`\\])*`'
    r"|//[^\n]*|(?<![\w$&])#[^\n]*|--[^\n]*|/(?:\\.|[^/\\\n])+/[gimsu]*"
)
BLOCK_OR_LITERAL = re.compile(f"{'|'.join(map(re.escape, BLOCKS))}|{LITERAL.pattern}")
ASKS_TO_REPEAT = re.compile(
    r"\brepeat|\bpattern\b|\b(?:\d+|ten|twenty|fifty|hundred|thousand) times\b"
    r"|重复|遍|[\d十百千]次|循环|图案",
    re.IGNORECASE,
)
DIGITS = re.compile(r"[0-9]+")


def broken(
    instruction: pl.Series,
    output: pl.Series,
    *,
    garbled: bool = True,
    fences: bool = True,
    loops: bool = True,
    brackets: bool = True,
    sentences: bool = True,
    full_stops: bool = True,
    repeats: Several = 4,
    loop_characters: Some = 60,
) -> pl.DataFrame:
    """Drop answers that are garbled, cut off, or end in a loop.

    `mojibake`: signs of a wrong encoding, replacement and control characters. `unclosed_fence`: a
    fence of code that nothing closes. `repetition_loop`: the end says one thing `repeats` times or
    more, over at least `loop_characters` characters (a sign of Han, kana or hangul is two), where
    the instruction does not ask for it; numbers in it may differ. `unclosed_bracket`: a bracket or
    a quotation is open at the end. `cut_off`: the last sentence or list item is not whole; most
    real ones that only lack the last full stop are (`full_stops` false keeps them). A null is
    empty. Returns one row an entry, in order: `reason` (String, null where the row is kept) and
    `detail` (String: the end of the answer, or what was found; null where the row is kept).
    """
    answers = output.fill_null("").str.strip_chars_end(BLANKS)
    is_garbled = answers.str.contains(one_of("mojibake").pattern) if garbled else None
    reasons: list[str | None] = []
    details: list[str | None] = []
    for at, (task, text) in enumerate(zip(instruction.to_list(), answers.to_list(), strict=True)):
        reason, detail = None, None
        if is_garbled is not None and is_garbled[at]:
            reason, detail = _garbled(task or "", text)
        if reason is None and fences and len(FENCE.findall(text)) % 2:
            reason, detail = "unclosed_fence", _end(text)
        if reason is None and loops and (unit := loop(text, repeats, loop_characters)):
            is_asked = ASKS_TO_REPEAT.search(task or "") or asks_for_verse(task or "")
            reason, detail = (None, None) if is_asked else ("repetition_loop", unit)
        if reason is None and brackets and _has_open_bracket(text):
            reason, detail = "unclosed_bracket", _end(text)
        if (
            reason is None
            and sentences
            and is_cut_off(text, is_verse=asks_for_verse(task or ""), full_stops=full_stops)
        ):
            reason, detail = "cut_off", _end(text)
        reasons.append(reason)
        details.append(detail)
    return verdict(reasons, details)


def _end(text: str) -> str:
    return f"ends: {text[-SHOWN:]}"


def _garbled(task: str, text: str) -> tuple[str | None, str | None]:
    pattern = one_of("mojibake")
    met = pattern.search(text)
    if met is None or met[0] in task:
        return None, None
    return "mojibake", text[max(0, met.start() - SHOWN // 2) : met.end() + SHOWN // 2]


def loop(text: str, repeats: int, characters: int) -> str | None:
    """What the end of a text says again and again, with the times in words; null where nothing.

    >>> loop("It is so. " + "And so on and on. " * 9, 4, 60)
    "9 times 'And so on and on. '"
    """
    ended = text.rstrip(TERMINAL)  # after the last time
    found = _loop(text, repeats, characters)
    return found or (_loop(ended, repeats, characters) if ended != text else None)


def _loop(text: str, repeats: int, characters: int) -> str | None:
    if len(text) * 2 < characters:
        return None
    tail = DIGITS.sub("0", text[-TAIL:])
    seed = tail[-SEED:]
    before = tail.rfind(seed, 0, len(tail) - 1)
    if before < 0:
        return None
    period = len(tail) - SEED - before
    reach = len(tail) - 1
    while reach >= period and tail[reach] == tail[reach - period]:
        reach -= 1
    length = len(tail) - 1 - reach + period
    unit = tail[-period:]
    times = length // period
    letters = sum(sign.isalpha() for sign in unit)
    weight = length + sum(not sign.isascii() and sign.isalpha() for sign in tail[-length:])
    wanted = repeats if len(set(unit)) > (5 if unit.isascii() else 3) else 3 * repeats
    if "0" in unit:  # numbered lines are alike on purpose
        wanted = max(wanted, 2 * repeats)
    if times < wanted or weight < characters or letters < 2 or 3 * letters < len(unit.strip()):
        return None
    return f"{times} times {unit[:SHOWN]!r}"


def _has_open_bracket(text: str) -> bool:
    """Whether the end of a text stands inside a bracket or a quotation."""
    text = text.translate(NARROW) if not text.isascii() else text
    if not any(text.count(opens) > text.count(closes) for closes, opens in BRACKETS.items()):
        return False
    prose = without_fenced(text)
    if is_code(prose):
        return _open_at(_without_literals(prose)) is not None
    last = SMILEY.sub("", prose[prose.rfind("\n") + 1 :])
    if not last or last[-1] in TERMINAL or last[-1] in CLOSING or last[0] == "#":
        return False
    if len(last.split()) < 2:  # a password, or a script without spaces
        return len(last) >= 20 and OPEN_AMONG_SIGNS.search(last[-LAST:]) is not None
    opener = _open_at(last)
    return opener is not None and ENDS.search(last, opener) is None


def _without_literals(code: str) -> str:
    """Code with `""` for its literals and comments; what begins and never ends is none."""
    parts: list[str] = []
    never: set[str] = set()  # ends that do not come any more: to look for each again costs squares
    last = at = 0
    while (met := BLOCK_OR_LITERAL.search(code, at)) is not None:
        end = met.end()
        if (closes := BLOCKS.get(met[0])) is not None:
            found = -1 if closes in never else code.find(closes, end)
            if found >= 0:
                end = found + len(closes)
            else:
                never.add(closes)
                other = LITERAL.match(code, met.start())
                if other is None:
                    at = met.start() + 1
                    continue
                end = other.end()
        parts += [code[last : met.start()], '""']
        last = at = end
    return "".join([*parts, code[last:]])


def _open_at(text: str) -> int | None:
    """Where the last bracket begins that nothing closes; a closing one alone is passed over."""
    stack: list[tuple[str, int]] = []
    for at, sign in enumerate(text):
        if sign in OPENING:
            stack.append((sign, at))
        elif sign in BRACKETS and stack and stack[-1][0] == BRACKETS[sign]:
            stack.pop()
    return stack[-1][1] if stack else None


def is_cut_off(text: str, *, is_verse: bool = False, full_stops: bool = True) -> bool:
    """Whether the last sentence or the last item of a list is not whole.

    A line of verse may end with a comma, and without a full stop. Without `full_stops` a sentence
    among whole ones may end without one too.
    """
    if EMPTY_ITEM.search(text):
        return True
    if not text or text[-1] in TERMINAL or text[-1] in CLOSING:
        return False
    if ANSWERED.search(text[-LAST:]) or is_code(without_fenced(text)):
        return False
    lines = [line for line in without_fenced(text).splitlines() if line.strip()]
    if not lines:
        return False
    last, others = lines[-1], lines[:-1]
    if SIGNED.search(text[-LAST:]) or (others and SAID.match(last) and SAID.match(others[-1])):
        return False
    if is_verse:
        return False
    if OPEN_SIGN.search(last) or OPEN_WORD.search(last):
        return _length(text) >= 5
    ends = [met.end() for met in ENDS.finditer(last)]
    item = ITEM.match(last)
    if item and ends and ends[0] <= item.end():
        ends = ends[1:]
    if not full_stops or EQUATION.search(last):
        return False
    if ends:
        return _length(last[ends[-1] :]) >= 2
    whole = sum(map(_is_whole, others))
    if item:
        items = [line for line in others if ITEM.match(line)]
        return len(items) >= 2 and all(map(_is_whole, items))
    return whole >= 2 and _is_whole(others[-1]) and _length(last) >= 8


def _is_whole(line: str) -> bool:
    bare = line.rstrip().rstrip(CLOSING)
    return bool(bare) and bare[-1] in TERMINAL


def _length(text: str) -> int:
    """Words, or signs where those are not spaced."""
    return len(re.findall(TOKEN, text))
