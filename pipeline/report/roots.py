"""The root verb of an instruction and its object, as in Self-Instruct's figure 2.

Wang et al. 2023 parse each instruction (Berkeley Neural Parser) and count the root verb with its
direct noun object. Where spaCy and its model `en_core_web_sm` are installed, its dependency parser
does that here. Otherwise a heuristic stands in, for English: the root is the first word of the
instruction, or of what follows its opening clause, that is a verb of `VERBS`; the object is the
last word of the noun phrase after it, without what only points or describes. It errs where a verb
is also a noun ("Name ...") and where the object comes after a subordinate clause.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from typing import Any

MODEL = "en_core_web_sm"
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|[,.;:!?()\n]")
FIRST = 24
"""How many words of an instruction are looked at for its root."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VERBS = _words(
    """
    add adapt adjust advise analyse analyze annotate answer apply approximate argue arrange ask
    assess assign assume brainstorm break build calculate categorise categorize change
    check choose cite clarify classify clean combine comment compare compile complete compose
    compress compute condense consider construct continue contrast convert copy correct count
    craft create critique debate debug decide decode decompose deduce define demonstrate derive
    describe design detect determine develop devise diagnose differentiate discuss distinguish
    divide do draft draw edit elaborate eliminate encode enumerate estimate evaluate examine
    expand explain explore express extend extract fill filter find finish fix follow form
    formulate generate get give group guess help highlight identify illustrate imagine implement
    improve include indicate infer insert interpret introduce invent judge justify keep label
    list locate look make map mark match measure mention merge modify multiply name narrate note
    offer organise organize outline paraphrase parse perform pick plan play point
    pose predict prepare present prioritise prioritize produce propose prove provide put query
    quote rank rate read rearrange recommend reduce refactor remove rename reorder repeat rephrase
    replace reply report respond restate reverse review revise reword rewrite round say schedule
    score search select separate set shorten show simplify simulate sketch solve sort
    specify spell split spot state structure substitute suggest sum summarise summarize
    supply support swap tag take teach tell test think trace transform translate trim turn
    understand unscramble update use validate verify visualise visualize weigh work write
    """
)
POINTING = _words(
    """
    a an the this that these those my your his her its our their me us him them you each every all
    any some no one two three four five six seven eight nine ten several many few more most both
    of
    """
)
ENDS = _words(
    """
    for from to in on at by with without about into onto as and or but so which who whom whose
    that where when while if than then because between among over under after before during is
    are was were be been being has have had can could should would will may might must using based
    given following how what why it they we i per via not of like such
    """
)
KEPT_PLURAL = ("ss", "us", "is", "news", "series")

Root = tuple[str, str | None]
"""A root verb and its object; null where it has none."""


def method() -> str:
    """How roots are found on this machine, in words."""
    if _has_parser():
        return f"by the dependency parser of spaCy's {MODEL}"
    return "by a heuristic for English: the first known verb, and the last noun of what follows it"


def count(instructions: Iterable[str]) -> tuple[Counter[Root], int]:
    """How often each root verb and object occur, and how many instructions have no root."""
    find = _parsed() if _has_parser() else root
    found: Counter[Root] = Counter()
    without = 0
    for instruction in instructions:
        one = find(instruction)
        if one is None:
            without += 1
        else:
            found[one] += 1
    return found, without


def root(instruction: str) -> Root | None:
    """The root verb and object by the heuristic; null where no verb is found.

    >>> root("Write a short poem about the sea.")
    ('write', 'poem')
    >>> root("Given a list of numbers, find the two largest values in it.")
    ('find', 'value')
    >>> root("What is the capital of Peru?")
    """
    words = WORD.findall(instruction[:1000])[:FIRST]
    for at, word in enumerate(words):
        verb = word.lower()
        is_first = at == 0 or words[at - 1] in ",.;:!?()\n" or words[at - 1].lower() in BEFORE
        if verb in VERBS and is_first:
            return verb, _object(words[at + 1 :])
    return None


BEFORE = frozenset({"please", "you", "to", "and", "then", "now", "kindly", "just", "also", "i"})
"""After these words a root may stand, beside a mark."""


def _object(words: list[str]) -> str | None:
    """The head of the noun phrase that words begin with: its last word."""
    last = None
    for word in words:
        lower = word.lower()
        if lower == "following" and last is None:
            continue
        if lower in POINTING and last is None:
            continue
        if not lower[0].isalpha() or lower in ENDS:
            break
        last = lower
    return None if last is None else _singular(last)


def _singular(word: str) -> str:
    """A plural's singular, as far as its ending tells."""
    if word.endswith(KEPT_PLURAL) or not word.endswith("s") or len(word) < 4:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-1]


def _has_parser() -> bool:
    return find_spec("spacy") is not None and find_spec(MODEL) is not None


@cache
def _parsed() -> Callable[[str], Root | None]:
    """What finds a root by spaCy's parser."""
    import spacy

    parser: Any = spacy.load(MODEL, disable=["ner"])

    def find(instruction: str) -> Root | None:
        for sentence in parser(instruction[:1000]).sents:
            if sentence.root.pos_ == "VERB":
                nouns = [one for one in sentence.root.children if one.dep_ in ("dobj", "obj")]
                return sentence.root.lemma_.lower(), nouns[0].lemma_.lower() if nouns else None
        return None

    return find
