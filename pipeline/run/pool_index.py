"""The novelty index beside the run: a run that is resumed does not build it from text again.

One file in `.index/`, named for what it was built from: the stage, its settings, the seed tasks and
the kept shards, in order. A file of another name is about other rows, and one that cannot be read
is damaged; both are removed, and the texts are read instead. The rows that came after the file was
written are added to it. No digest covers the file and nothing else reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence

from filters.novelty import NoveltyIndex
from pipeline.stages.drafts import DraftConfig
from pipeline.store import StageFolder

WORTH_KEEPING = 10_000
"""Entries from which a file is written: fewer are built from text in a tenth of a second."""
GROWTH = 1.25
"""How much larger a pool is than in its last file before it is written again."""


class PoolIndex:
    """Keeps the index of one stage's pool: the seed tasks, then the rows that the stage kept."""

    def __init__(self, folder: StageFolder, config: DraftConfig, seeds: Sequence[str]) -> None:
        """Nothing is read before `restore`."""
        self._folder = folder
        self._place = folder.run / ".index"
        self._prefix = folder.path.name
        self._n_seeds = len(seeds)
        self._made = json.dumps([config.threshold, config.rule, config.tokens, *seeds])
        self._empty = NoveltyIndex(
            threshold=config.threshold, rule=config.rule, tokens=config.tokens
        )
        self._n_saved = 0

    def restore(self, texts: Sequence[str]) -> NoveltyIndex:
        """The index of `texts`: the seed tasks and all published kept rows."""
        index = self._read()
        self._n_saved = len(index)
        index.add(texts[len(index) :])
        return index

    def keep(self, index: NoveltyIndex) -> None:
        """Write the index where it has grown enough and all that is in it is published."""
        is_published = self._folder.next_slot == self._folder.state.next_slot
        if not is_published or len(index) < max(WORTH_KEEPING, self._n_saved * GROWTH):
            return
        name, _ = self._names()[-1]
        with contextlib.suppress(OSError):  # a run can do without: it is built from text
            self._place.mkdir(exist_ok=True)
            index.save(self._place / name)
            self._n_saved = len(index)
            self._remove_all_but(name)

    def _read(self) -> NoveltyIndex:
        """The index as far as a file has it, or an empty one."""
        for name, n_entries in reversed(self._names()):
            path = self._place / name
            if not path.is_file():
                continue
            with contextlib.suppress(OSError, ValueError):
                index = NoveltyIndex.load(path)
                if len(index) == n_entries:
                    self._remove_all_but(name)
                    return index
        self._remove_all_but(None)
        return self._empty

    def _names(self) -> list[tuple[str, int]]:
        """What a file is called, and the entries in it, before and after each published part."""
        digest = hashlib.sha256(self._made.encode())
        names, n_entries = [], self._n_seeds
        for part in [None, *self._folder.state.parts]:
            if part is not None:
                digest.update(part.kept.sha256.encode())
                n_entries += part.kept.rows
            names.append((f"{self._prefix}-{digest.hexdigest()[:32]}.npz", n_entries))
        return names

    def _remove_all_but(self, name: str | None) -> None:
        for path in self._place.glob(f"{self._prefix}-*.npz"):
            if path.name != name:
                path.unlink(missing_ok=True)
