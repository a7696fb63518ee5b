"""What a machine may have no more of, told from the many errors that say so."""

from __future__ import annotations

import errno

ERRNO = {
    errno.ENOMEM: "memory",
    errno.EMFILE: "open files",
    errno.ENFILE: "open files",
    errno.EAGAIN: "threads",
}
SAYS = {
    "can't start new thread": "threads",
    "Resource temporarily unavailable": "threads",
    "Cannot allocate memory": "memory",
    "memory allocation": "memory",
    "failed to map segment": "memory",
    "Ctx create failed": "memory",
    "error return without exception set": "memory",
}
"""The words of libraries that translate the system's error into one of their own."""


def shortage(error: BaseException) -> str | None:
    """Of what this process may have no more: memory, files, threads; null for any other error.

    >>> shortage(MemoryError()), shortage(OSError("no")), shortage(OSError(errno.EMFILE, "files"))
    ('memory', None, 'open files')
    """
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in ERRNO:
        return ERRNO[error.errno]
    return next((what for says, what in SAYS.items() if says in str(error)), None)
