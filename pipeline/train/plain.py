"""Plain text that is learned beside conversations: documents out of a file, in pieces that fit.

A document is text as a model reads it in pre-training: no chat template, its end marked, a loss on
all of it. What looks like a control token in it is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.train.encoding import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXT = "text"
"""The column, or key, that holds a document."""
LINES = (".jsonl", ".ndjson")
LEAST = 2
"""Tokens of a piece from which anything is learned: the first is predicted from nothing."""


def documents(path: Path) -> list[str]:
    """The documents of a file, those without a letter left out: see `groups.Plain` for its form.

    Raises `InputError` where it cannot be read, has no column `text`, or holds no document.
    """
    try:
        found = list(_documents(path))
    except OSError as error:
        raise InputError(f"plain text: {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"plain text: {path} is no text in UTF-8.") from error
    except (pa.ArrowInvalid, json.JSONDecodeError) as error:
        told = str(error).splitlines()[0]
        raise InputError(f"plain text: {path} cannot be read: {told:.200}.") from error
    if not found:
        raise InputError(f"plain text: {path} holds no document.")
    return found


def check(path: Path) -> None:
    """Raise `InputError` where a file has no first document; of a large one little is read."""
    if path.suffix == ".parquet" or not path.is_file():
        documents(path) if not path.is_file() else _check_columns(path)
        return
    try:
        with path.open(encoding="utf-8") as file:
            line = next((line for line in file if line.strip()), None)
        if path.suffix in LINES and line is not None:
            _text_of(json.loads(line), path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"plain text: {path} cannot be read: {error}.") from error
    if line is None:
        raise InputError(f"plain text: {path} holds no document.")


def _check_columns(path: Path) -> None:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"plain text: {path} is no Parquet file.") from error
    if TEXT not in schema.names:
        raise _no_text(path, schema.names)
    kind = schema.field(TEXT).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"plain text: {path} has no text in its column {TEXT!r}, but {kind}.")


def _documents(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        _check_columns(path)
        texts = pq.read_table(path, columns=[TEXT])[TEXT].to_pylist()
    elif path.suffix in LINES:
        with path.open(encoding="utf-8") as file:  # its lines end at line feeds alone
            texts = [_text_of(json.loads(line), path) for line in file if line.strip()]
    else:
        texts = re.split(r"\n[ \t]*\n", path.read_text(encoding="utf-8"))
    yield from (text.strip() for text in texts if text and text.strip())


def _text_of(row: Any, path: Path) -> str | None:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(row, dict) or not isinstance(row.get(TEXT), str | None) or TEXT not in row:
        raise _no_text(path, sorted(row) if isinstance(row, dict) else [])
    found: str | None = row[TEXT]
    return found


def _no_text(path: Path, names: list[str]) -> InputError:
    there = f"; it has {', '.join(map(str, names))}" if names else ""
    return InputError(f"plain text: {path} has no text in a column {TEXT!r}{there}.")


class Pieces:
    """Pieces of documents, in an order drawn from a seed, handed out as so many tokens are wanted.

    `examples` are those that were handed out so far; once all were, they come again.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, texts: list[str], most: int, seed: int
    ) -> None:
        """Documents longer than `most` tokens are several pieces."""
        self._tokenizer = tokenizer
        self._texts = Random(f"{seed} plain").sample(texts, len(texts))
        self._most = most
        self._left = self._encoded()
        self._next = 0
        self.examples: list[Encoded] = []
        self.times = 0
        """How often all of them were handed out."""

    def take(self, tokens: float) -> list[int]:
        """Places in `examples` of pieces that have at least so many tokens together."""
        found: list[int] = []
        had = 0
        while had < tokens:
            place = self._place()
            found.append(place)
            had += len(self.examples[place].ids)
        return found

    def _place(self) -> int:
        if not self.times:
            piece = next(self._left, None)
            if piece is not None:
                self.examples.append(piece)
                return len(self.examples) - 1
            self.times = 1
        elif self._next == len(self.examples):
            self._next, self.times = 0, self.times + 1
        if not self.examples:
            raise InputError("plain text: no document has two tokens, so that nothing is learned.")
        self._next += 1
        return self._next - 1

    def _encoded(self) -> Iterator[Encoded]:
        begins = [
            number
            for number in self._tokenizer("")["input_ids"]
            if number == self._tokenizer.bos_token_id
        ]
        for text in self._texts:
            data = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
            end = self._tokenizer.eos_token_id
            ids = [*begins, *data["input_ids"], *([] if end is None else [end])]
            for at in range(0, len(ids), self._most):
                piece = ids[at : at + self._most]
                if len(piece) >= LEAST:
                    yield Encoded(piece, list(piece))
