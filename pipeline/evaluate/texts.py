"""One answer measured: against its reference, and for saying things again or copying the task.

ROUGE is that of the `rouge_score` package with stemming, and exact match that of the evaluation
code of Self-Instruct (Wang et al. 2023, `compute_metrics.py`). Where we differ: signs of Han, kana
and hangul, which that package deletes, are words of their own, and punctuation of all scripts is
left out, not of ASCII alone. BLEU is that of `sacrebleu` (Post 2018, arXiv:1804.08771); its counts
are kept a row, so that those of any rows sum up to their corpus score.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from filters.rouge import tokens
from filters.script import is_han_kana_hangul

RUN = 4
"""Words of a run that is looked at for repetition."""
COPIED = 8
"""Words of a run that was taken over from the task, not written by chance."""
SHORTEST_STEM = 4
"""rouge_score stems words of so many letters and more."""
ORDERS = 4
NEXT_TURN = re.compile(
    r"^\s*(?:#+\s*|\*\*|<\|)?(?:instruction|input|user|human|question|task)\s*(?:\*\*|\|>)?\s*:",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that begins another task, or another's turn."""
ASCII_PUNCTUATION = frozenset(string.punctuation)

Counts = list[int]
"""What BLEU is computed from: matches of 1 to 4 words, runs of 1 to 4 words, words of the answer
and of the reference."""


class AgainstReference:
    """Compares answers with references; the packages for it are loaded once."""

    def __init__(self) -> None:
        """Load `rouge_score` and `sacrebleu`."""
        from nltk.stem.porter import PorterStemmer
        from rouge_score import rouge_scorer
        from sacrebleu.metrics.bleu import BLEU

        kinds = ["rouge1", "rouge2", "rougeL"]
        self._rouge = rouge_scorer.RougeScorer(kinds, tokenizer=_Words(PorterStemmer()))
        self._bleu = {kind: BLEU(tokenize=kind) for kind in ("13a", "zh")}

    def measure(self, answer: str, reference: str) -> dict[str, Any]:
        """F1 of ROUGE-1, ROUGE-2 and ROUGE-L, whether both are equal, and what BLEU counts."""
        found = self._rouge.score(reference, answer)
        bleu = self._bleu["zh" if is_han_kana_hangul(reference) else "13a"]
        counted = bleu.corpus_score([answer], [[reference]])
        return {
            "rouge1": float(found["rouge1"].fmeasure),
            "rouge2": float(found["rouge2"].fmeasure),
            "rougeL": float(found["rougeL"].fmeasure),
            "is_exact": normalised(answer) == normalised(reference),
            "bleu_counts": [
                *map(int, counted.counts),
                *map(int, counted.totals),
                int(counted.sys_len),
                int(counted.ref_len),
            ],
        }


class _Words:
    """The tokenizer that rouge_score is handed: ours, with its stemming."""

    def __init__(self, stemmer: Any) -> None:  # noqa: ANN401 - of nltk, without types
        self._stemmer = stemmer

    def tokenize(self, text: str) -> list[str]:
        return [
            self._stemmer.stem(word) if len(word) >= SHORTEST_STEM and word.isascii() else word
            for word in tokens(text)
        ]


def normalised(text: str) -> str:
    """A text in lower case, without punctuation, with one space between its words.

    >>> normalised(" The  answer: 42. ")
    'the answer 42'
    """
    kept = (
        char
        for char in text.lower()
        if char not in ASCII_PUNCTUATION and not unicodedata.category(char).startswith("P")
    )
    return " ".join("".join(kept).split())


def bleu(counts: Iterable[Counts]) -> float:
    """Corpus BLEU, 0 to 100, of rows' counts, with the exponential smoothing of `sacrebleu`."""
    summed = [sum(column) for column in zip(*counts, strict=True)]
    if not summed:
        return 0.0
    matches, runs = summed[:ORDERS], summed[ORDERS : 2 * ORDERS]
    said, wanted = summed[2 * ORDERS :]
    if not any(matches):
        return 0.0
    logs, smoothing = 0.0, 1.0
    for matched, of in zip(matches, runs, strict=True):
        if of == 0:
            return 0.0
        if matched == 0:
            smoothing *= 2
        logs += math.log((matched or 1 / smoothing) / of)
    brevity = 1.0 if said >= wanted else math.exp(1 - wanted / said)
    return 100 * brevity * math.exp(logs / ORDERS)


def repetition(answer: str) -> float:
    """The share of an answer's runs of four words that came before in it: 1 - distinct / all.

    Source: seq-rep-4 of Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training"
    (arXiv:1908.04319). 0 where there is no run.

    >>> repetition("a b c d a b c d"), repetition("a b c")
    (0.19999999999999996, 0.0)
    """
    words = tokens(answer)
    runs = _runs(words, RUN)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def is_continuation(answer: str, asked: Sequence[str], reference: str | None = None) -> bool:
    """Whether an answer goes on with the task instead of doing it.

    It begins another task or turn on a line of its own, or its first eight words stand so in one of
    the texts that were `asked`. What the reference does as well is no fault.
    """
    if NEXT_TURN.search(answer) and not NEXT_TURN.search(reference or ""):
        return True
    begin = tuple(tokens(answer)[:COPIED])
    if len(begin) < COPIED or tuple(tokens(reference or "")[:COPIED]) == begin:
        return False
    return any(begin in set(_runs(tokens(text), COPIED)) for text in asked)


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]
