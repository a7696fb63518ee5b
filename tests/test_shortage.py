"""What a machine lacks is told by type and number, and by no text that may be a row's."""

import errno

import polars as pl
import pyarrow as pa
import pytest

from pipeline.shortage import shortage

SAID_BY_ROWS = (
    "Cannot allocate memory",
    "memory allocation",
    "can't start new thread",
    "Resource temporarily unavailable (os error 11)",
    "failed to map segment from shared object",
    "Ctx create failed",
)


QUOTING = (ValueError, KeyError, TypeError, pl.exceptions.ComputeError, pa.ArrowInvalid)


class SafetensorError(Exception):
    """Called as that of safetensors is."""


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "said in any language"), "memory"),
        (OSError(errno.EMFILE, "Too many open files"), "open files"),
        (BlockingIOError(errno.EAGAIN, "no"), "threads"),
        (RuntimeError("can't start new thread"), "threads"),
        (RuntimeError("Resource temporarily unavailable"), "threads"),
        (RuntimeError("unable to mmap 8 bytes: Cannot allocate memory (12)"), "memory"),
        (RuntimeError("can't allocate 8 bytes. Error code 12 (Cannot allocate memory)"), "memory"),
        (SystemError("error return without exception set"), "memory"),
        (ImportError("lib.so: failed to map segment from shared object"), "memory"),
        (OSError("ZSTD_DCtx create failed"), "memory"),
        (OSError("Too many open files (os error 24): a.parquet"), "open files"),
        (Exception("Cannot allocate memory (os error 12)"), "memory"),
        (
            pa.ArrowException(
                "Unknown error: Failed to launch worker thread: Resource temporarily unavailable"
            ),
            "threads",
        ),
        (SafetensorError("Error: Cannot allocate memory (os error 12)"), "memory"),
    ],
)
def test_what_is_lacking_is_told_from_the_error(error: BaseException, what: str) -> None:
    assert shortage(error) == what


@pytest.mark.parametrize("text", SAID_BY_ROWS)
@pytest.mark.parametrize("kind", QUOTING)
def test_an_error_that_quotes_a_row_is_no_want_of_anything(
    kind: type[Exception], text: str
) -> None:
    assert shortage(kind(text)) is None
    assert shortage(RuntimeError(f"bad row: {text.partition(' (')[0]}")) is None


def test_another_number_than_those_of_want_is_none() -> None:
    assert shortage(OSError(errno.ENOENT, "Cannot allocate memory")) is None
    assert shortage(OSError("No such file or directory (os error 2)")) is None
