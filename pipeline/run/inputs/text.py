"""Rows of JSON Lines, JSON and CSV, one by one; whatever a file holds, little is in memory.

A row that is too long is a `Drop`; a file that cannot be what its name says, or unpacks to far more
than is stored, is refused by name and line.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.run.inputs.files import InputFile
from pipeline.stage import Drop
from pipeline.stages.read_input import Config

CHUNK = 2**20
NO_ROW = 16
"""So many times `row_bytes` without an end is no row that is too long, but no file of rows."""
EXEMPT = 2**26
"""A file that unpacks to no more than this is no bomb, whatever its ratio."""

SPACE = re.compile(r"[ \t\r\n]*")
BETWEEN = re.compile(r"[ \t\r\n,]*")

Record = dict[str, Any] | Drop


@dataclass
class Bounds:
    """How much of a file was unpacked, and how much of it may be."""

    file: InputFile
    config: Config
    unpacked: int = 0
    stored: int = field(init=False)

    def __post_init__(self) -> None:
        """Ask how large the file is."""
        self.stored = self.file.path.stat().st_size

    def add(self, n_bytes: int) -> None:
        """Count what was unpacked. Raises `InputError` where it is too much."""
        self.unpacked += n_bytes
        if self.unpacked > self.config.file_bytes:
            raise InputError(
                f"{self.file.path} unpacks to more than {self.config.file_bytes} bytes "
                "(import.file_bytes)."
            )
        if self.unpacked > max(EXEMPT, self.config.ratio * self.stored):
            raise InputError(
                f"{self.file.path} unpacks to more than {self.config.ratio:g} times its "
                f"{self.stored} bytes (import.ratio): it looks like a bomb."
            )


def records(file: InputFile, config: Config) -> Iterator[Record]:
    """The rows of a text file, in order."""
    bounds = Bounds(file, config)
    try:
        with _opened(file) as stream:
            if file.format == "csv":
                yield from _csv(stream, bounds)
            elif file.format == "jsonl" or _first(stream) != b"[":
                yield from _json_lines(stream, bounds)
            else:
                yield from _json_array(stream, bounds)
    except (pa.ArrowException, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not file.packed:
            raise
        raise InputError(f"{file.path} cannot be unpacked: {error}.") from error


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[io.BufferedReader]:
    with contextlib.ExitStack() as stack:
        stream: Any = stack.enter_context(file.path.open("rb"))
        if file.packed == ".gz":
            stream = stack.enter_context(gzip.open(stream))
        elif file.packed == ".zst":
            stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(stream), "zstd"))
        yield stack.enter_context(io.BufferedReader(stream, CHUNK))


def _first(stream: io.BufferedReader) -> bytes:
    """The first byte that is no space and no mark of the byte order; it stays to be read."""
    return stream.peek(CHUNK)[:CHUNK].removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _lines(stream: BinaryIO, bounds: Bounds) -> Iterator[tuple[int, bytes | Drop]]:
    """Lines with their numbers from 1; one of more than `row_bytes` is a `Drop`."""
    most = bounds.config.row_bytes
    number = 0
    while line := stream.readline(most + 1):
        number += 1
        bounds.add(len(line))
        if len(line) <= most or line.endswith(b"\n"):
            yield number, line
            continue
        n_bytes = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(CHUNK)):
            n_bytes += len(line)
            bounds.add(len(line))
            if n_bytes > NO_ROW * most:
                raise InputError(
                    f"{bounds.file.path}: line {number}: more than {NO_ROW * most} bytes and no "
                    "end: no row of data."
                )
        yield number, too_large(n_bytes, bounds.config)


def too_large(n_bytes: int, config: Config) -> Drop:
    """What is said of a row of so many bytes."""
    return Drop("row_too_large", f"{n_bytes} bytes, more than {config.row_bytes}")


def _json_lines(stream: BinaryIO, bounds: Bounds) -> Iterator[Record]:
    for number, line in _lines(stream, bounds):
        if isinstance(line, Drop):
            yield line
        elif line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not isinstance(
                    error, (UnicodeDecodeError, json.JSONDecodeError, RecursionError)
                ):
                    yield Drop("number_too_long", str(error))  # Python reads 4,300 digits
                    continue
                hint = " Rows are an array of objects, or one object a line." if number == 1 else ""
                raise InputError(
                    f"{bounds.file.path}: line {number}: not JSON ({error}).{hint}"
                ) from error
            yield _record(found)


def _record(found: object) -> Record:
    if isinstance(found, dict):
        return cast("dict[str, Any]", found)
    return Drop("no_object", f"a {type(found).__name__}, not an object with fields")


def _json_array(stream: BinaryIO, bounds: Bounds) -> Iterator[Record]:
    """The objects of one array, each read as soon as it is whole."""
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    scan = json.JSONDecoder().raw_decode
    text, at, line, wants = "", 0, 1, "["
    is_open = True
    while True:
        skip = BETWEEN.match(text, at) if wants == "," else SPACE.match(text, at)
        skipped = skip.end() if skip else at
        line += text.count("\n", at, skipped)
        at = skipped
        if at < len(text) and wants == "[":
            if text[at] != "[":
                raise InputError(f"{bounds.file.path}: line {line}: not JSON: no array of rows.")
            at, wants = at + 1, ","
            continue
        if at < len(text) and text[at] == "]":
            return
        try:
            if at == len(text):
                raise ValueError("it ends before its array does")
            found, end = scan(text, at)
        except RecursionError as error:
            raise InputError(f"{bounds.file.path}: line {line}: not JSON ({error}).") from error
        except ValueError as error:
            n_left = len(text) - at
            if not is_open or n_left > 2 * bounds.config.row_bytes:
                raise InputError(
                    f"{bounds.file.path}: line {line}: not JSON, or a row of more than "
                    f"{bounds.config.row_bytes} bytes ({error})."
                ) from error
            raw = stream.read(max(CHUNK, n_left))
            bounds.add(len(raw))
            is_open = bool(raw)
            try:
                text, at = text[at:] + decode(raw, final=not raw), 0
            except UnicodeDecodeError as wrong:
                raise InputError(
                    f"{bounds.file.path}: line {line}: not UTF-8 ({wrong})."
                ) from wrong
            continue
        size = end - at
        line += text.count("\n", at, end)
        at = end
        yield _record(found) if size <= bounds.config.row_bytes else too_large(size, bounds.config)


def _csv(stream: BinaryIO, bounds: Bounds) -> Iterator[Record]:
    csv.field_size_limit(bounds.config.row_bytes)
    held, at = [0], [0]  # bytes since the last row was whole; the line that was read last
    try:
        reader = csv.DictReader(_csv_lines(stream, bounds, held, at), strict=True, restkey="")
        for row in reader:
            n_bytes, held[0] = held[0], 0
            if "" in row:
                yield Drop("too_many_fields", f"{len(row[''])} more than there are names")
            elif n_bytes > bounds.config.row_bytes:
                yield too_large(n_bytes, bounds.config)
            else:
                yield row
    except csv.Error as error:
        line = max(reader.line_num, at[0])
        raise InputError(f"{bounds.file.path}: line {line}: not CSV ({error}).") from error


def _csv_lines(stream: BinaryIO, bounds: Bounds, held: list[int], at: list[int]) -> Iterator[str]:
    """Lines as text."""
    for number, line in _lines(stream, bounds):
        if isinstance(line, Drop):
            raise InputError(
                f"{bounds.file.path}: line {number}: {line.detail} (import.row_bytes)."
            )
        at[0] = number
        held[0] += len(line)
        if held[0] > NO_ROW * bounds.config.row_bytes:
            raise InputError(f"{bounds.file.path}: line {number}: a row that does not end.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{bounds.file.path}: line {number}: not UTF-8 ({error}).") from error
