"""Room on the disk that is kept for the replies in flight when it fills up.

A file of zeros beside the journal, as large as the setting says, made before the first request and
removed where a write finds no room: what was paid for and is still on its way can then be kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from pipeline.errors import StorageError

ENDING = "-reserve"
"""How its name ends, after the journal's."""


class Reserve:
    """The reserve of one journal, taken when it is made."""

    def __init__(self, journal: Path, size: int) -> None:
        """Set `size` bytes aside; 0 is none. Raises `StorageError` that says how many are wanted.

        What a process that was killed had set aside is used again.
        """
        self.path = journal.with_name(journal.name + ENDING)
        self.is_there = size > 0
        if not self.is_there:
            self.free()
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(self.path, flags, 0o600)
            try:
                os.ftruncate(handle, min(size, os.fstat(handle).st_size))
                os.posix_fallocate(handle, 0, size)
            finally:
                os.close(handle)
        except OSError as error:
            self.free()
            raise StorageError(
                f"{self.path} cannot be written: {error.strerror}. A run sets {size} bytes aside "
                "(reserve_mib) for replies that are on their way when the disk fills up; "
                f"{free_bytes(self.path.parent)} are free."
            ) from error

    def free(self) -> bool:
        """Give the room back; false where there is none any more."""
        was_there, self.is_there = self.is_there, False
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        return was_there


def free_bytes(folder: Path) -> int | None:
    """How much room there is; null where nobody can say."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return None
