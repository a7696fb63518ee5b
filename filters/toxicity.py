"""Toxic texts by lists of words that are data, in the six classes of the Jigsaw challenge.

The lists (`filters/words/toxic_CLASS.txt`, English and Chinese, our own) hold what abuses somebody;
words that are only about violence, sex or groups of people are in none. A list knows no context: it
meets quotations, fiction and the words themselves where they are explained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import polars as pl

from filters.bounds import Some
from filters.verdict import verdict
from filters.word_lists import lines

LISTS = ("severe_toxicity", "threat", "identity_hate", "obscene", "insult")
CLASSES = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_hate")
"""As Jigsaw names them; `toxicity` is all of them together."""
SHOWN = 3


def toxicity(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    toxicity: Some | None = None,
    severe_toxicity: Some | None = 1,
    obscene: Some | None = None,
    threat: Some | None = 1,
    insult: Some | None = None,
    identity_hate: Some | None = 1,
) -> pl.DataFrame:
    """Drop rows whose texts have so many words of a class, or more; null looks for none.

    `toxicity` counts the words of all classes. Words count whole, of any case. The reason is the
    class, `severe_toxicity` before the others and `toxicity` last. A null is empty. Returns one row
    an entry, in order: `reason` (String, null where the row is kept) and `detail` (String: how
    many, and some of them; null where the row is kept).
    """
    most = {
        "severe_toxicity": severe_toxicity,
        "threat": threat,
        "identity_hate": identity_hate,
        "obscene": obscene,
        "insult": insult,
    }
    wanted = [name for name in LISTS if most[name] is not None or toxicity is not None]
    reasons: list[str | None] = [None] * len(output)
    details: list[str | None] = [None] * len(output)
    columns = [one.cast(pl.String) for one in (instruction, input, output)]
    if not wanted or not len(output):
        return verdict(reasons, details)
    may = "|".join(f"(?:{_listed(name)})" for name in wanted)
    frame = pl.DataFrame({str(at): one for at, one in enumerate(columns)})
    is_met = pl.all().str.contains(f"(?i){may}").fill_null(value=False)
    for at in frame.select(pl.any_horizontal(is_met)).to_series().arg_true():
        texts = [text for one in columns if (text := one[at])]
        found = {name: [w for text in texts for w in words(name, text)] for name in wanted}
        counts: list[tuple[str, int | None, list[str]]] = [
            (name, most[name], found[name]) for name in wanted
        ]
        counts.append(("toxicity", toxicity, [word for each in found.values() for word in each]))
        for name, least, met in counts:
            if least is not None and len(met) >= least:
                reasons[at] = name
                some = ", ".join(repr(word) for word in list(dict.fromkeys(met))[:SHOWN])
                details[at] = f"{len(met)} of {name}: {some}"
                break
    return verdict(reasons, details)


def words(name: str, text: str) -> Iterator[str]:
    """The words of a list that stand in a text, in order, in small letters.

    >>> list(words("obscene", "Oh shit, the Shitake is gone."))
    ['shit']
    """
    for met in _pattern(name).finditer(text):
        yield met[0].lower()


@lru_cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9_])(?:{_listed(name)})(?![A-Za-z0-9_])", re.IGNORECASE)


@lru_cache
def _listed(name: str) -> str:
    """The patterns of a list as one, in a syntax that Rust's regular expressions share."""
    told = (line.replace("'", "['\u2019]").replace(" ", r"\s+") for line in lines(f"toxic_{name}"))
    return "|".join(f"(?:{one})" for one in told)
