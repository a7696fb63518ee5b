"""Texts as arrays of token numbers, and the vocabulary that numbers them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from filters.rouge import Tokens, tokens

Ids = NDArray[np.int32]
Offsets = NDArray[np.int64]

END = b"\0"  # stands for the end of a text among the words; no token contains it
BATCH = 4096  # texts whose words exist as Python objects at once


def _words_only(more: bytes) -> bytes:
    """A translation that lower-cases ASCII words and blanks all but them, `END` and `more`."""
    kept = bytes(range(48, 58)) + bytes(range(97, 123)) + END + more
    table = bytes(code if code in kept else 32 for code in range(256))
    return table[:65] + bytes(range(97, 123)) + table[91:]


class Vocabulary(dict[bytes, int]):
    """The number of every token met, in order of first occurrence; 0 is `END`."""

    def __init__(self, kind: Tokens) -> None:
        """Start with no token but `END`."""
        super().__init__({END: 0})
        self.kind = kind
        # a token of another script is UTF-8, all of whose bytes are 0x80 and above
        self._table = _words_only(b"" if kind == "published" else bytes(range(0x80, 0x100)))

    def __missing__(self, word: bytes) -> int:
        """Number a token that was not met before."""
        number = self[word] = len(self)
        return number

    def encode(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        """Number the tokens of every text; text i has those from offset i to offset i + 1.

        The same tokens as `filters.rouge.tokens`, ten times faster: one pass of C code over
        many texts at once instead of a regular expression on each.
        """
        ids, ends = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        for start in range(0, len(texts), BATCH):
            words = self._split(texts[start : start + BATCH])
            numbers = np.fromiter(map(self.__getitem__, words), np.int32, len(words))
            ending = np.flatnonzero(numbers == 0)
            ids.append(np.delete(numbers, ending))
            ends.append(ends[-1][-1] + ending - np.arange(len(ending)))
        return np.concatenate(ids), np.concatenate(ends)

    def _split(self, texts: Sequence[str]) -> list[bytes]:
        plain = [text if text.isascii() else self._plain(text) for text in texts]
        if any("\0" in text for text in plain):
            plain = [text.replace("\0", " ") for text in plain]
        joined = " \0 ".join([*plain, ""])
        # surrogatepass: half a surrogate pair, from broken JSON, is no token and no reason to stop
        return joined.encode("utf-8", "surrogatepass").translate(self._table).split()

    def _plain(self, text: str) -> str:
        if self.kind == "published":
            return text.lower()  # may well become ASCII: the Kelvin sign is a k
        return " ".join(tokens(text))
