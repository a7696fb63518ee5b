"""Arrow files as `datasets` saves them: a stream of record batches, mapped and never unpacked.

A packed batch says itself how large it becomes, and `datasets` packs none: they are refused. Both
this and the number of rows stand in the messages' headers, which are FlatBuffers:
https://github.com/apache/arrow/blob/main/format/Message.fbs
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pipeline.errors import InputError

RECORD_BATCH = 3
LENGTH, COMPRESSION = 0, 3  # fields of a record batch
HEADER_TYPE, HEADER = 1, 2  # fields of a message


@contextmanager
def opened(path: Path, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatchReader]:
    """The batches of a file, these columns of them. Raises `InputError` while it is read."""
    try:
        with pa.memory_map(str(path)) as file:
            schema = pa.ipc.open_stream(file).schema
            wanted = None if names is None else [schema.get_field_index(name) for name in names]
            options = pa.ipc.IpcReadOptions(included_fields=wanted)
            file.seek(0)
            yield pa.ipc.open_stream(file, options=options)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is not an Arrow stream that can be read: {error}.") from error


def count(path: Path) -> int:
    """The rows of a file. Raises `InputError` where a batch of it is packed."""
    rows = 0
    try:
        with pa.memory_map(str(path)) as file:
            for message in pa.ipc.MessageReader.open_stream(file):
                header = message.metadata.to_pybytes()
                root = struct.unpack_from("<I", header)[0]
                kind = _field(header, root, HEADER_TYPE)
                if kind is None or header[kind] != RECORD_BATCH:
                    continue
                at = _field(header, root, HEADER)
                batch = at + struct.unpack_from("<I", header, at)[0] if at is not None else root
                if _field(header, batch, COMPRESSION) is not None:
                    raise InputError(f"{path} holds packed batches: save it without compression.")
                length = _field(header, batch, LENGTH)
                rows += struct.unpack_from("<q", header, length)[0] if length is not None else 0
    except (pa.ArrowException, OSError, struct.error, IndexError) as error:
        raise InputError(f"{path} is not an Arrow stream that can be read: {error}.") from error
    return rows


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a FlatBuffers table is; null where it is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + at)[0] if at < size else 0
    return table + offset if offset else None
