"""Rewritten instructions that a judge finds no different from their parent.

Source: Xu et al. 2023, "WizardLM" (arXiv:2304.12244), section 3.2, the first elimination rule. A
teacher is asked, in both orders, whether two prompts are equal; a reply that says neither, or both
without a verdict of its own, counts for nothing, and both must say that the prompts differ.
"""

from __future__ import annotations

import re

import polars as pl

from filters.verdict import verdict

BETWEEN = (
    r"(?:[\s-]+(?:\w+ly|quite|at|all|the|an?|to|be|called|considered|deemed|seen|viewed|as|both|so|"
    r"very|longer|in|any|way))*[\s-]*"
)
NOT = rf"\b(?:(?:can)?not|never|no)\b{BETWEEN}|n't\b{BETWEEN}"
ASKED = re.compile(
    rf"(?P<different>(?:{NOT})\bequal|\bnotequal|\bunequal|(?:不|并非|非)(?:完全|太|大|怎么)?"
    r"(?:相等|相同|等同|一样|等|同))|\bequal|相等|相同|等同|一样|没有不同|没有区别",
    re.IGNORECASE,
)
"""The words that the judge is told to answer with, and their like in Chinese."""
OTHER = re.compile(
    rf"(?P<equal>(?:{NOT})\b(?:differ|distinct))|(?P<different>(?:{NOT})\b(?:same|identical|alike|"
    r"equivalent)|\b(?:differ|distinct))|\b(?:same|identical|alike|equivalent)\b",
    re.IGNORECASE,
)
"""Other words for it, which count where none of those is there."""
MARKS = re.compile(r"[*_`\"“”‘「」『』#]|'(?!t\b)")
OPENS = re.compile(r"\W*(?:(?:they|the (?:two )?prompts) are )?", re.IGNORECASE)
STOPS = re.compile(r"\s*(?:[^\w\s]|\Z|\n|because\b|since\b)", re.IGNORECASE)
SENTENCE = re.compile(r"[.;!?。；！？\n]+")
LEADS = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore|overall|in short|my|the|final|verdict|judge?ment|answer|"
    r"conclusion|is|they|prompts|are)\b\W*)*",
    re.IGNORECASE,
)


def information_gain(first: pl.Series, second: pl.Series) -> pl.DataFrame:
    """Drop rows unless both replies, one for each order, say that the prompts are not equal.

    Returns one row an entry, in order: `reason` (String, null where the row is kept) and `detail`
    (String, what the two replies say; null where the row is kept).
    """
    found = [
        judge(one or "", other or "")
        for one, other in zip(first.to_list(), second.to_list(), strict=True)
    ]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def judge(first: str, second: str) -> tuple[str | None, str | None]:
    """Reason and detail for the two replies about one pair."""
    said = [says_different(reply) for reply in (first, second)]
    if all(said):
        return None, None
    named = {True: "not equal", False: "equal", None: "neither"}
    return "no_information_gain", f"{named[said[0]]}; the other way round {named[said[1]]}"


def says_different(reply: str) -> bool | None:
    """What a reply says of two prompts; null where it says neither, or both and no verdict.

    Of a reply that says both, the verdict is what it begins with, else its last sentence, where
    that is nothing else.

    >>> says_different("Not **Equal**."), says_different("Equal. Not equal would be wrong.")
    (True, False)
    >>> says_different("Equal in depth, yet so much longer. Not Equal."), says_different("Perhaps")
    (True, None)
    """
    text = MARKS.sub(" ", reply.replace("\u2019", "'")).strip()
    for words in (ASKED, OTHER):
        said = [(found, found["different"] is not None) for found in words.finditer(text)]
        if len({different for _, different in said}) == 1:
            return said[0][1]
        if said:
            return _verdict(text, said)
    return None


def _verdict(text: str, said: list[tuple[re.Match[str], bool]]) -> bool | None:
    """What a reply that says both begins with, or ends in, as a sentence of its own."""
    first, is_different = said[0]
    opening = OPENS.match(text)
    if opening is not None and opening.end() == first.start() and STOPS.match(text, first.end()):
        return is_different
    last, is_different = said[-1]
    begin = max((end.end() for end in SENTENCE.finditer(text, 0, last.start())), default=0)
    leads = LEADS.fullmatch(text, begin, last.start())
    return is_different if leads and not text[last.end() :].strip(" .!。！") else None
