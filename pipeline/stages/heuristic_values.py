"""What a text gives for tasks about itself, without any teacher: its ending, its title, a gap.

Each function takes a text and a random stream, and gives the values that templates are given, or
nothing where the text does not suit.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random

from filters.code import LINE
from filters.script import SIGN, is_han_kana_hangul
from filters.sentences import END, sentences
from filters.stop_words import CHINESE, ENGLISH

Values = dict[str, str]

GAP = "____"
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
SAYS_LITTLE = (
    "可以", "可能", "包括", "以及", "通过", "因为", "因此", "所以", "如果", "但是", "然而", "例如",
    "此外", "进行", "使用", "应该", "能够", "需要", "确保", "帮助", "没有", "什么", "这些", "那些",
    "自己", "非常", "许多", "由于", "并且", "或者", "之间", "其中", "其他", "以下", "重要", "更多",
)  # fmt: skip
"""Words of Chinese that stand in any text."""
LITTLE = re.compile("|".join(SAYS_LITTLE))
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
LONGEST_TITLE = {True: 30, False: 90}
"""Characters, by whether the text is written in Han, kana or hangul."""
SHORTEST_REST = {True: 20, False: 80}
MOST_SHUFFLED = 8
LISTED = re.compile(
    r"```|^[ \t]*(?:\|.*\|[ \t]*$|[(（]?\d{1,3}[.、)）:：]|[-*•#+>]|[a-zA-Z][.)]\s)", re.MULTILINE
)
"""Fences, rows of tables, items of lists and headings."""
SUMS = re.compile(r"[\d=+*/×÷%$<>\\^_]+")
SUM_SIGNS = 6  # one character in so many that belongs to sums
LONGEST_LINE = 500  # characters of a line of code
CODE_LINES = 4  # one line in so many that looks like code


def is_prose(text: str) -> bool:
    """Whether a text can be taken for sentences: code, sums and lists have none.

    >>> is_prose("It rains."), is_prose("def f(x):"), is_prose("| a | b |"), is_prose("1. Rain")
    (True, False, False, False)
    """
    lines = [line for line in text.splitlines() if line.strip()]
    n_code = sum(LINE.match(line[:LONGEST_LINE]) is not None for line in lines)
    n_signs = sum(map(len, SUMS.findall(text)))
    is_text = CODE_LINES * n_code <= len(lines) and SUM_SIGNS * n_signs <= len(text)
    return is_text and LISTED.search(text) is None


def continuation(text: str, rng: Random) -> Values:
    """The text in two, at the end of a sentence between a quarter and three quarters of it."""
    ends = [found.end() for found in END.finditer(text)]
    inner = [at for at in ends if len(text) <= 4 * at <= 3 * len(text)]
    if not inner:
        return {}
    at = rng.choice(inner)
    return {"beginning": text[:at].strip(), "ending": text[at:].strip()}


def title(text: str, rng: Random) -> Values:
    """The first sentence or line, where it is short and much follows it, and what follows."""
    found = END.search(text)
    if found is None:
        return {}
    first, rest = text[: found.end()].strip(), text[found.end() :].strip()
    packed = is_han_kana_hangul(text)
    is_short = 2 <= len(first) <= LONGEST_TITLE[packed]
    if not is_short or len(rest) < SHORTEST_REST[packed] or first.endswith((":", "：", "?", "？")):
        return {}
    return {"title": first.rstrip(".。"), "body": rest}


def keywords(text: str, rng: Random) -> Values:
    """Three to six words that say most: those that recur, then the longest, as they come up."""
    packed = is_han_kana_hangul(text)
    found = _han_words(text) if packed else _words(text)
    if len(found) < 3 or len(text) < SHORTEST_REST[packed]:
        return {}
    best = sorted(found, key=lambda word: (-found[word], -len(word), word))[: rng.randint(3, 6)]
    places = text.casefold()
    between = "、" if packed else ", "
    return {"keywords": between.join(sorted(best, key=places.find))}


def _words(text: str) -> Counter[str]:
    every = (word.casefold() for word in WORD.findall(text))
    return Counter(
        word
        for word in every
        if len(word) > 3 and word not in ENGLISH and SIGN.search(word) is None
    )


def _han_words(text: str) -> Counter[str]:
    """Runs of two to four signs that recur, the most frequent first; none overlaps another."""
    runs = Counter(
        run[at : at + size]
        for run in HAN.findall(LITTLE.sub(" ", text))
        for size in (2, 3, 4)
        for at in range(len(run) - size + 1)
    )
    often = {run: n for run, n in runs.items() if n > 1 and not set(run) & CHINESE}
    taken: dict[str, int] = {}
    for run in sorted(often, key=lambda run: (-often[run], -len(run), run)):
        parts = {run[at : at + 2] for at in range(len(run) - 1)}
        longer = next(
            (one for one in often if run in one and often[one] == often[run] and one != run), ""
        )
        if not longer and not any(part in one for one in taken for part in parts):
            taken[run] = often[run]
    return Counter(taken)


def shuffled(text: str, rng: Random) -> Values:
    """Three to eight sentences in another order, numbered, and the order that they had."""
    found = sentences(text)
    is_few = 3 <= len(found) <= MOST_SHUFFLED
    if not is_few or len(set(found)) < len(found) or any(len(one) < 4 for one in found):
        return {}
    order = list(range(len(found)))
    while order == sorted(order):
        rng.shuffle(order)
    listed = "\n".join(f"{number}. {found[at]}" for number, at in enumerate(order, start=1))
    numbers = [order.index(at) + 1 for at in range(len(found))]
    between = "" if is_han_kana_hangul(text) else " "
    return {
        "shuffled": listed,
        "ordered": between.join(found),
        "order": ", ".join(map(str, numbers)),
    }


def gap_word(text: str, rng: Random) -> Values:
    """The text with one of its words left out: one that stands in it once, and is no stop word."""
    counts = Counter(word.casefold() for word in WORD.findall(text))
    usable = [
        found
        for found in list(WORD.finditer(text))[1:]
        if len(found[0]) > 3
        and counts[found[0].casefold()] == 1
        and found[0].isascii()
        and found[0].casefold() not in ENGLISH
    ]
    if len(counts) < 8 or not usable:
        return {}
    found = rng.choice(usable)
    return {"word_gap": f"{text[: found.start()]}{GAP}{text[found.end() :]}", "word": found[0]}


def gap_sentence(text: str, rng: Random) -> Values:
    """The text with one of its inner sentences left out."""
    ends = [0, *(found.end() for found in END.finditer(text)), len(text)]
    spans = [(a, b) for a, b in pairwise(ends) if text[a:b].strip()]
    if not 3 <= len(spans) <= 20:
        return {}
    first, end = rng.choice(spans[1:-1])
    said = text[first:end]
    space = said[len(said.rstrip()) :]
    return {"sentence_gap": f"{text[:first]}{GAP}{space}{text[end:]}", "sentence": said.strip()}


HEURISTICS: dict[str, Callable[[str, Random], Values]] = {
    "beginning": continuation, "ending": continuation,
    "title": title, "body": title,
    "keywords": keywords,
    "shuffled": shuffled, "ordered": shuffled, "order": shuffled,
    "word_gap": gap_word, "word": gap_word,
    "sentence_gap": gap_sentence, "sentence": gap_sentence,
}  # fmt: skip
"""What makes each value of a text."""


def tagged(tokens: str, tags: str, name_of: Callable[[str], str]) -> Values:
    """The text of JSON lists of tokens and their tags (BIO, or a tag a token), and its entities.

    >>> tagged('["Ada", "met", "Bo", "Li"]', '["B-PER", "O", "B-PER", "I-PER"]', str.lower)
    {'tagged_text': 'Ada met Bo Li', 'entities': 'Ada (per), Bo Li (per)'}
    """
    try:
        words, kinds = json.loads(tokens), json.loads(tags)
    except ValueError:
        return {}
    if not isinstance(words, list) or not isinstance(kinds, list) or len(words) != len(kinds):
        return {}
    packed = is_han_kana_hangul("".join(map(str, words)))
    space = "" if packed else " "
    found: list[tuple[str, list[str]]] = []
    before = "O"
    for word, kind in zip(map(str, words), map(str, kinds), strict=True):
        begins, _, kind_of = kind.partition("-")
        if kind == "O":
            before = kind
            continue
        label = kind_of if begins in ("B", "I") and kind_of else kind
        if begins == "B" or before != label or not found:
            found.append((label, []))
        found[-1][1].append(word)
        before = label
    named = [f"{space.join(said)} ({name_of(label)})" for label, said in found]
    if packed:
        named = [f"{space.join(said)}（{name_of(label)}）" for label, said in found]
    between = "、" if packed else ", "
    none = "无" if packed else "none"
    return {"tagged_text": space.join(map(str, words)), "entities": between.join(named) or none}
