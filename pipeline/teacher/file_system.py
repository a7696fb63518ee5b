"""Whether a folder is on a file system that several machines share.

SQLite's write-ahead mode keeps its index in memory that is shared by mapping a file, which no
other machine sees, and no call of SQLite says so: it takes the mode there and damages the database.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

SHARED = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x19830326: "beegfs",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "kafs",
    0x73757245: "coda",
    0x65735546: "fuse",  # sshfs, glusterfs, s3fs and others
    0x01021997: "9p",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
    0x20030528: "orangefs",
    0xAAD7AAEA: "panfs",
    0x786F4256: "vboxsf",
}
"""The numbers by which Linux tells file systems apart (statfs(2)), of those that are shared."""


def is_shared(folder: Path) -> bool:
    """Whether other machines may write here too; False where the system does not say."""
    if not sys.platform.startswith("linux"):
        return False
    found = ctypes.create_string_buffer(512)  # struct statfs is smaller; its type comes first
    if ctypes.CDLL(None).statfs(os.fsencode(folder), found) != 0:
        return False
    number = int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    return number & 0xFFFFFFFF in SHARED
