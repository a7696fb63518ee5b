"""An index that finds the entry nearest to a text by ROUGE-L, exactly, and grows as it answers.

Two engines give the same answers. Small pools are searched by numpy and rapidfuzz, which are
ready at once. Once a run has enough to compare, numba takes over: 10 to 20 times faster, but a
second to load, and ten to compile the first time on a machine. It loads in a thread, and numpy
goes on until then; only a call that would take numpy long waits for it. A compiled wheel of our
own would save that second and little else, as the scan runs near the speed of memory, and it would
cost every platform a build; rapidfuzz, the compiled wheel that exists, compares with every entry
and is 100 times slower at 50,000 of them.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from filters.novelty.loading import loading
from filters.novelty.numpy_search import LARGEST_VOCABULARY, NumpySearch
from filters.novelty.pool import Pool
from filters.novelty.words import Ids, Offsets, Vocabulary
from filters.rouge import Rule, Tokens, f_measure, limit

Engine = Literal["auto", "numpy", "numba"]

FORMAT = 1  # of saved files; raised with any change of tokens or of what a file holds
# The numpy engine's work, in microseconds on a common machine, after which numba is loaded:
# about what that costs. Counted, not timed, so that a small run never loads it.
SMALL_US = 500_000
TEXT_US, PAIR_US, ENTRY_US = 60, 0.012, 25
# What numpy and zipfile raise for a file that is none of ours, was cut off or has a wrong byte.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Nearest:
    """The entry most like a text: its number, the LCS, and the tokens of both."""

    entry: int
    lcs: int
    n_tokens: int
    entry_tokens: int

    @property
    def f(self) -> float:
        """ROUGE-L F1, bit for bit as `rouge_score` gives it."""
        return f_measure(self.lcs, self.n_tokens, self.entry_tokens)


@dataclass(frozen=True)
class Verdicts:
    """What became of each text, in order, a column each.

    `entry` is the number of the nearest entry, -1 where there is none (an empty pool, or an
    accepted text when only decisions were asked for); `lcs` and `entry_tokens` are 0 there.
    """

    accepted: NDArray[np.bool_]
    entry: NDArray[np.int64]
    lcs: NDArray[np.int32]
    n_tokens: NDArray[np.int32]
    entry_tokens: NDArray[np.int32]

    def __len__(self) -> int:
        """How many texts there were."""
        return len(self.accepted)

    def nearest(self, row: int) -> Nearest | None:
        """The nearest entry of one text, None where there is none."""
        if self.entry[row] < 0:
            return None
        return Nearest(
            int(self.entry[row]),
            int(self.lcs[row]),
            int(self.n_tokens[row]),
            int(self.entry_tokens[row]),
        )

    @property
    def f(self) -> NDArray[np.float64]:
        """The scores, as `Nearest.f` gives them; 0.0 where there is no entry."""
        lcs = self.lcs.astype(np.float64)
        precision = lcs / np.maximum(self.entry_tokens, 1)
        recall = lcs / np.maximum(self.n_tokens, 1)
        together = precision + recall
        return 2 * precision * recall / np.where(together == 0, 1, together)


class Search(Protocol):
    """What both engines do; `NumpySearch.run` says what the answers are."""

    def run(
        self, ids: Ids, offsets: Offsets, *, nearest: bool, grow: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Find the nearest entry of every text in turn."""


class NoveltyIndex:
    """A pool of texts that answers how near another text comes to it.

    Entries are numbered from 0 in the order in which they were added. The score is ROUGE-L F1 on
    `tokens` (see `filters.rouge.tokens`); of entries with the same score the first counts. A text
    without tokens scores 0 with everything, and its nearest entry is the first. `threshold` and
    `rule` say what a duplicate is (see `filters.rouge.is_duplicate`). `engine` changes the time
    an answer takes, never the answer. Not for two threads at once.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.7,
        tokens: Tokens = "unicode",
        rule: Rule = "strict",
        engine: Engine = "auto",
    ) -> None:
        """Start with an empty pool."""
        for value, choices in ((tokens, Tokens), (engine, Engine)):
            if value not in get_args(choices):
                raise ValueError(f"{value!r} is unknown: use one of {get_args(choices)}.")
        self.limit = limit(threshold, rule)
        self._vocabulary = Vocabulary(tokens)
        self._pool = Pool()
        self._engine: Engine = engine
        self._small_us = 0.0
        self._small: NumpySearch | None = None
        self._large: Search | None = None

    def __len__(self) -> int:
        """How many entries the pool has."""
        return self._pool.size

    @property
    def tokens(self) -> Tokens:
        """The kind of tokens that are compared."""
        return self._vocabulary.kind

    def add(self, texts: Sequence[str]) -> None:
        """Append texts to the pool, whatever they are like."""
        self._pool.append(*self._vocabulary.encode(texts))
        self._foresee()

    def _foresee(self) -> None:
        """Begin to load the compiled engine where the next text will be met by many entries."""
        if self._engine == "auto" and self._work_us(1) >= SMALL_US:
            loading()

    def nearest(self, text: str) -> Nearest | None:
        """Find the entry most like `text`, None in an empty pool. The pool stays as it is."""
        return self._compare([text], nearest=True, grow=False).nearest(0)

    def filter(self, texts: Sequence[str], *, nearest: bool = True) -> Verdicts:
        """Accept the texts that are new, in order, and add them to the pool.

        Each is compared with the pool and with those accepted before it in this call, so a stream
        gives the same verdicts however it is cut into calls. Without `nearest` it is several
        times faster, and only rejected texts tell which entry they met.
        """
        return self._compare(texts, nearest=nearest, grow=True)

    def _compare(self, texts: Sequence[str], *, nearest: bool, grow: bool) -> Verdicts:
        ids, offsets = self._vocabulary.encode(texts)
        search = self._search(len(texts))
        entry, lcs = search.run(ids, offsets, nearest=nearest, grow=grow)
        n_tokens = np.diff(offsets).astype(np.int32)
        met = entry >= 0
        entry_tokens = np.zeros(len(texts), np.int32)
        entry_tokens[met] = self._pool.n_tokens(entry[met])
        accepted = ~self._are_duplicates(lcs, n_tokens, entry_tokens)
        return Verdicts(accepted, entry, lcs, n_tokens, entry_tokens)

    def _are_duplicates(
        self, lcs: NDArray[np.int32], m: NDArray[np.int32], n: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        pairs = zip(lcs.tolist(), m.tolist(), n.tolist(), strict=True)
        reached = (one > 0 and self.limit.is_reached(one, *lengths) for one, *lengths in pairs)
        return np.fromiter(reached, np.bool_, len(lcs))

    def _search(self, n_texts: int) -> Search:
        """The engine for the next `n_texts`."""
        if self._large is None and not self._stays_small(n_texts) and self._has_loaded(n_texts):
            from filters.novelty.scan import ScanSearch

            self._large, self._small = ScanSearch(self._pool, self.limit), None
        if self._large is not None:
            return self._large
        if self._small is None:
            self._small = NumpySearch(self._pool, self.limit)
        return self._small

    def _has_loaded(self, n_texts: int) -> bool:
        """Whether the compiled engine is ready; waits where numpy would take long over this."""
        ready = loading()
        is_patient = self._engine == "auto" and len(self._vocabulary) < LARGEST_VOCABULARY
        if is_patient and ready.is_alive() and self._work_us(n_texts) < SMALL_US:
            return False
        ready.join()
        if ready.failure is None:
            return True
        if self._engine == "numba":
            raise ready.failure
        self._engine = "numpy"  # slower, the run goes on
        return False

    def _stays_small(self, n_texts: int) -> bool:
        if self._engine != "auto":
            return self._engine == "numpy"
        self._small_us += self._work_us(n_texts)
        return self._small_us < SMALL_US and len(self._vocabulary) < LARGEST_VOCABULARY

    def _work_us(self, n_texts: int) -> float:
        """About what the numpy engine would need for the next `n_texts`."""
        unread = 0 if self._small else self._pool.size
        pairs = n_texts * (self._pool.size + n_texts / 2)
        return ENTRY_US * unread + TEXT_US * n_texts + PAIR_US * pairs

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a file (.npz without pickles), whole or not at all."""
        ids, offsets = self._pool.contents()
        target = Path(path)
        staged = target.with_name(f".new-{target.name}.{uuid4().hex}")
        try:
            with staged.open("wb") as file:
                np.savez(
                    file,
                    format=np.array(FORMAT),
                    threshold=np.array(self.limit.threshold),
                    rule=np.array(self.limit.rule),
                    tokens=np.array(self.tokens),
                    vocabulary=np.frombuffer(b"\n".join(self._vocabulary), np.uint8),
                    ids=ids,
                    offsets=offsets,
                )
                file.flush()
                os.fsync(file.fileno())
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, engine: Engine = "auto") -> "NoveltyIndex":
        """Read what `save` wrote, with its settings.

        Raises ValueError where the file is none of ours, of a newer format, or damaged.
        """
        with Path(path).open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as saved:
                    parts = {name: saved[name] for name in saved.files}
                return cls._restored(parts, engine)
            except DAMAGE as error:
                raise ValueError(
                    f"{os.fspath(path)} is not a novelty index that can be read: {error}. "
                    "Delete it; it is built again from the texts."
                ) from error

    @classmethod
    def _restored(cls, parts: dict[str, NDArray[Any]], engine: Engine) -> "NoveltyIndex":
        if int(parts["format"].item()) != FORMAT:
            raise ValueError(f"its format is {parts['format'].item()}, this version reads {FORMAT}")
        index = cls(
            threshold=parts["threshold"].item(),
            tokens=parts["tokens"].item(),
            rule=parts["rule"].item(),
            engine=engine,
        )
        words = parts["vocabulary"].tobytes().split(b"\n")
        ids, offsets = parts["ids"], parts["offsets"]
        index._vocabulary.update((word, number) for number, word in enumerate(words))
        consistent = (
            len(index._vocabulary) == len(words)  # no word twice
            and index._vocabulary[words[0]] == 0
            and ids.dtype == np.int32
            and offsets.dtype == np.int64
            and ids.ndim == offsets.ndim == 1
            and len(offsets) > 0
            and offsets[0] == 0
            and offsets[-1] == len(ids)
            and bool((np.diff(offsets) >= 0).all())
            and (not len(ids) or (ids.min() > 0 and ids.max() < len(words)))
        )
        if not consistent:
            raise ValueError("its parts do not fit together")
        index._pool.append(ids, offsets)
        index._foresee()
        return index
