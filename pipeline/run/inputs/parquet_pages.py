"""How large the pages of a Parquet file say that they are, before any of them is unpacked.

A reader makes room for a page as its own header asks, whatever the file's footer says; a few
hundred bytes can ask for 2 GiB. So the headers are walked first. They are Thrift structs in its
compact protocol: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from typing import Any, BinaryIO

import pyarrow.parquet as pq

from pipeline.errors import InputError

PAGE_BYTES = 2**27
"""No page may be larger than this when unpacked; writers aim at 1 MiB."""
SMALL_PAGE = 2**24
"""Up to this a page may be packed as tightly as it likes."""
PAGE_VALUES = 2**24
HEADER_BYTES = 2**16
_DATA, _DICTIONARY, _DATA_V2 = 5, 7, 8  # fields of a page header that say how many values


def check_pages(file: BinaryIO, name: str, column: pq.ColumnChunkMetaData, *, ratio: float) -> None:
    """Raise `InputError` where a column chunk has a page that nobody would write for data."""
    starts = []
    if column.num_values or column.data_page_offset:  # without a value there need be no page
        starts.append(column.data_page_offset)
    if column.has_dictionary_page and column.dictionary_page_offset:
        starts.append(column.dictionary_page_offset)
    if not starts:
        return
    at = min(starts)
    end = at + column.total_compressed_size
    while at < end:
        file.seek(at)
        header, length = _struct(file.read(HEADER_BYTES), 0, name)
        unpacked, packed = header.get(2), header.get(3)
        if (
            not isinstance(unpacked, int)
            or not isinstance(packed, int)
            or min(unpacked, packed) < 0
        ):
            raise InputError(f"{name} is not Parquet: a page at byte {at} has no size.")
        values = max(_values(header.get(field)) for field in (_DATA, _DICTIONARY, _DATA_V2))
        is_packed_tight = unpacked > SMALL_PAGE and unpacked > ratio * max(packed, 1)
        if unpacked > PAGE_BYTES or values > PAGE_VALUES or is_packed_tight:
            raise InputError(
                f"{name}: a page of column {column.path_in_schema} at byte {at} asks for "
                f"{unpacked} bytes and {values} values from {packed} bytes: it looks like a bomb."
            )
        at += length + packed


def dictionary_bytes(file: BinaryIO, name: str, column: pq.ColumnChunkMetaData) -> int:
    """How large a column chunk's dictionary is; 0 where it has none."""
    if not column.has_dictionary_page or not column.dictionary_page_offset:
        return 0
    file.seek(column.dictionary_page_offset)
    header, _ = _struct(file.read(HEADER_BYTES), 0, name)
    return int(header.get(2) or 0)


def _values(header: object) -> int:
    found = header.get(1) if isinstance(header, dict) else 0
    return found if isinstance(found, int) else 0


def _struct(data: bytes, at: int, name: str, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A compact struct by field number, and where it ends."""
    found: dict[int, Any] = {}
    field = 0
    if depth > 8:
        raise InputError(f"{name} is not Parquet: a page header is nested too deeply.")
    try:
        while kind := data[at] & 15:
            delta = data[at] >> 4
            at += 1
            if delta:
                field += delta
            else:
                field, at = _zigzag(data, at)
            found[field], at = _value(data, at, kind, name, depth)
    except IndexError as error:
        raise InputError(f"{name} is not Parquet: a page header does not end.") from error
    return found, at + 1


def _value(data: bytes, at: int, kind: int, name: str, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # a boolean is in its type
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(data, at)
        return None, at + size
    if kind == 12:
        return _struct(data, at, name, depth + 1)
    raise InputError(f"{name} is not Parquet: a page header holds type {kind}.")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 128:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
