"""Which rows are shown before a row as demonstrations: at random, the most alike, or diverse ones.

Sources: mixing prompts with and without demonstrations follows Longpre et al. 2023, "The Flan
Collection" (arXiv:2301.13688), section 3; the most similar last, Liu et al. 2022, "What Makes Good
In-Context Examples for GPT-3?" (arXiv:2101.06804). Diverse ones are the greedy centers of a few
rows drawn at random, beginning with the most alike, so that they still bear on the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from filters.nearest import Places, Table, alike, nearest
from pipeline.stages.row_values import random_of

How = Literal["random", "similar", "diverse"]
DRAWN = 32
"""So many rows are drawn for each row, to choose diverse ones among them."""
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Wanted:
    """One row that gets demonstrations: what it is called, where it stands, and how many."""

    name: str
    place: int
    n: int


@dataclass(frozen=True, slots=True)
class Pool:
    """The rows that can be shown: their places, in an order that no shard decides.

    No two of them have the same text: `texts` are the numbers of their texts.
    """

    places: Places
    texts: Places

    def skipped(self, texts: Places) -> Places:
        """For each of these texts, where in the pool it stands; -1 where it does not."""
        at = {int(text): place for place, text in enumerate(self.texts)}
        return np.array([at.get(int(text), -1) for text in texts], np.int64)


def pool_of(places: Iterable[int], ids: Sequence[str], texts: Places, seed: int) -> Pool:
    """The pool of the rows at `places`, in hashed order; of rows with the same text the first."""
    ordered = sorted(places, key=lambda place: (rank(seed, "pool", ids[place]), ids[place]))
    first = {int(texts[place]): place for place in reversed(ordered)}
    kept = np.array([at for at in ordered if first[int(texts[at])] == at], np.int64)
    return Pool(kept, texts[kept])


def rank(seed: int, purpose: str, name: str) -> int:
    """A number that stands for a row, the same wherever the row stands."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def share_of(names: Sequence[str], share: float, of: int, seed: int, purpose: str) -> set[str]:
    """A share of `of` rows, rounded half up, taken from `names`: all of them where they are fewer.

    Which ones is decided by the seed and by each name, whatever their order.
    """
    n = int(share * of + 0.5)
    return set(sorted(names, key=lambda name: (rank(seed, purpose, name), name))[:n])


def choose(
    wanted: Sequence[Wanted],
    pool: Pool,
    texts: Places,
    table: Table,
    how: How,
    seed: int,
    *,
    at_most: float = 1.0,
) -> dict[str, list[tuple[int, float]]]:
    """The places of each row's demonstrations in the order of choice, and how alike they are.

    `texts` and `table` have one entry a row, by its place. Never a row with the same text, nor one
    more alike than `at_most`. A row whose vector points nowhere has nothing that is alike: its
    demonstrations are random.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    skipped = pool.skipped(texts[[one.place for one in wanted]])
    shown = table[pool.places]
    k = max((one.n for one in wanted), default=0)
    for start in range(0, len(wanted), BLOCK):
        block = wanted[start : start + BLOCK]
        out = skipped[start : start + BLOCK]
        rows = table[[one.place for one in block]]
        if how == "similar":
            places, _ = nearest(rows, shown, out, k, at_most=at_most)
        for at, one in enumerate(block):
            is_drawn = how == "random" or not rows[at].any()
            if how == "similar" and not is_drawn:
                chosen = [int(place) for place in places[at] if place >= 0][: one.n]
            else:
                drawn = _drawn(one, len(pool.places), int(out[at]), max(DRAWN, one.n), seed)
                near = alike(rows[at], shown[np.array(drawn, np.int64)])
                drawn = [place for place, score in zip(drawn, near, strict=True)
                         if score <= at_most]  # fmt: skip
                chosen = drawn[: one.n] if is_drawn else _diverse(rows[at], shown, drawn, one.n)
            scores = alike(rows[at], shown[np.array(chosen, np.int64)])
            found[one.name] = [
                (int(pool.places[place]), float(score))
                for place, score in zip(chosen, scores, strict=True)
            ]
    return found


def _drawn(one: Wanted, n_pool: int, skipped: int, n: int, seed: int) -> list[int]:
    """Places in the pool, drawn at random."""
    own = random_of(seed, "demonstrations", one.name)
    drawn = own.sample(range(n_pool), min(n + 1, n_pool))
    return [place for place in drawn if place != skipped][:n]


def _diverse(row: Table, shown: Table, drawn: list[int], n: int) -> list[int]:
    """The most alike of those drawn, then each time the one least alike to any that was taken."""
    if not drawn:
        return []
    own = shown[drawn]
    chosen = [int(np.argmax(alike(row, own)))]
    met = alike(own[chosen[0]], own)
    while len(chosen) < min(n, len(drawn)):
        met[chosen] = np.inf
        chosen.append(int(np.argmin(met)))
        met = np.maximum(met, alike(own[chosen[-1]], own))
    return [drawn[at] for at in chosen]
