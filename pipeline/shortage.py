"""What a machine may have no more of, told from the many errors that say so."""

from __future__ import annotations

import errno
import os
import re

ERRNO = {
    errno.ENOMEM: "memory",
    errno.EMFILE: "open files",
    errno.ENFILE: "open files",
    errno.EAGAIN: "threads",
}
NUMBER = re.compile(
    r"\(os error (\d+)\)|\bOs \{ code: (\d+),"  # Rust: polars, tokenizers, safetensors
    r"|\bError code (\d+) \(|: Cannot allocate memory \((\d+)\)"  # PyTorch
)
"""The system's number in the text of an error that has no `errno`."""
SAYS: tuple[tuple[type[BaseException], str, str], ...] = (
    (RuntimeError, r"\Acan't start new thread\Z", "threads"),
    (SystemError, "error return without exception set", "memory"),
    (ImportError, "failed to map segment from shared object", "memory"),
    (OSError, "failed to map segment from shared object|ZSTD_[CD]Ctx create failed", "memory"),
)
"""What the interpreter and libraries say that give not even a number."""
OF_SYSTEM = {os.strerror(number): what for number, what in ERRNO.items()}
"""The system's own words, in which an error of C++ is, or ends."""
RUST = ("PanicException", "SafetensorError")
"""Errors that are known by name alone; polars' panics are no `Exception`."""


def shortage(error: BaseException) -> str | None:
    """Of what this process may have no more: memory, files, threads; null for any other error.

    The type and the number decide. A text is looked at only where it is a library's own and there
    is neither: of any other error it may quote a row.

    >>> shortage(MemoryError()), shortage(OSError("no")), shortage(OSError(errno.EMFILE, "files"))
    ('memory', None, 'open files')
    >>> shortage(RuntimeError("can't start new thread")), shortage(ValueError("memory allocation"))
    ('threads', None)
    """
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno is not None:
        return ERRNO.get(error.errno)
    text = str(error)
    for kind, says, what in SAYS:
        if isinstance(error, kind) and re.search(says, text):
            return what
    return _in_words(error, text) or _numbered(error, text)


def _in_words(error: BaseException, text: str) -> str | None:
    """The same by the system's words: all of a text, or the end of one that is about no row."""
    before, _, last = text.rpartition(": ")
    # of pyarrow's errors the one without a name, not those of its children, which may quote
    is_about_no_row = isinstance(error, OSError) or type(error).__name__ == "ArrowException"
    if is_about_no_row or (isinstance(error, RuntimeError) and not before):
        return OF_SYSTEM.get(last)
    return None


def _numbered(error: BaseException, text: str) -> str | None:
    """The same by the system's number in a library's text."""
    is_of_a_library = (
        isinstance(error, OSError | RuntimeError)
        or type(error) is Exception  # tokenizers has no class of its own
        or type(error).__name__ in RUST
    )
    if not is_of_a_library or (found := NUMBER.search(text)) is None:
        return None
    return ERRNO.get(int(next(filter(None, found.groups()))))
