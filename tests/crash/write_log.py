"""What a disk may hold after a power cut: a run's writes, with and without those not yet synced.

A run under strace gives every operation on its directory, contents included. At a cut, everything
is there that a returned fsync promised: the bytes of a file that was synced, the names in a folder
that was synced. Of all else any part may be there: each later write or its first sectors, each new
name, each rename. `state` writes one such directory.
"""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash import syscalls
from tests.crash.workload import Workload

TRACED = (
    "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat"
)
CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<given>.*)\) += (?P<gave>\d+)")
HEX = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FD_PATH = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*|[^>]*)>")
SECTOR = 512


@dataclass
class Operation:
    """One change: of a file's bytes (`inode`), or of a name (`path`, for a rename `source` too).

    `durable_at` is how many operations there were when a sync had made it durable.
    """

    kind: str
    path: str
    inode: int = 0
    source: str = ""
    offset: int = 0
    data: bytes = b""
    durable_at: int | None = None

    @property
    def is_of_bytes(self) -> bool:
        """Whether a sync of the file makes it durable, and not one of its folder."""
        return self.kind in ("write", "truncate")


@dataclass
class WriteLog:
    """The operations of one run on its directory, in order."""

    root: Path
    operations: list[Operation] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    _ends: dict[int, int] = field(default_factory=dict)
    _next: int = 1

    def add(self, call: str, paths: list[str], data: bytes, given: str) -> None:
        """Take one returned call."""
        if not all(path == str(self.root) or path.startswith(f"{self.root}/") for path in paths):
            return
        path = paths[-1]
        if path.endswith("-shm"):  # mapped memory, made anew by whoever opens the journal next
            return
        if call == "openat" and ("O_CREAT" in given or "O_TRUNC" in given):
            if path not in self._names:
                self._new(path)
            elif "O_TRUNC" in given:
                self._note("truncate", path)
                self._ends[self._names[path]] = 0
        elif call in ("write", "pwrite64") and path in self._names:
            inode = self._names[path]
            at = int(given.rpartition(",")[2]) if call == "pwrite64" else self._ends[inode]
            self._note("write", path, offset=at, data=data)
            self._ends[inode] = at + len(data) if call == "write" else self._ends[inode]
        elif call == "ftruncate" and path in self._names:
            self._note("truncate", path, offset=int(given.rpartition(",")[2]))
        elif call.startswith("rename"):
            self._note("rename", path, source=paths[0], inode=self._names[paths[0]])
            self._names[path] = self._names.pop(paths[0])
        elif call.startswith("unlink"):
            self._note("unlink", path)
            self._names.pop(path, None)
        elif call.startswith("mkdir"):
            self._note("mkdir", path)

    def _new(self, path: str) -> None:
        self._names[path], self._ends[self._next] = self._next, 0
        self._next += 1
        self._note("create", path)

    def _note(self, kind: str, path: str, **more: object) -> None:
        given = {"inode": self._names.get(path, 0), **more}
        self.operations.append(Operation(kind, path, **given))  # type: ignore[arg-type]

    def synced(self, path: str, begun_at: int) -> None:
        """A sync that began after `begun_at` operations has returned."""
        now = len(self.operations)
        inode = self._names.get(path)
        for operation in self.operations[:begun_at]:
            if operation.durable_at is not None:
                continue
            if operation.is_of_bytes:
                is_covered = inode is not None and operation.inode == inode
            else:
                is_covered = inode is None and str(Path(operation.path).parent) == path
            if is_covered:
                operation.durable_at = now

    def state(self, cut: int, folder: Path, rng: Random, share: float) -> None:
        """Write the directory as it may be after a power cut at `cut` operations.

        Each operation that no sync covers is there with the probability `share`, or a part of it.
        """
        names: dict[str, int] = {}
        folders = {str(self.root)}
        contents: dict[int, bytearray] = {}
        for operation in self.operations[:cut]:
            is_durable = operation.durable_at is not None and operation.durable_at <= cut
            if not is_durable and rng.random() >= share:
                continue
            content = contents.setdefault(operation.inode, bytearray())
            if operation.kind == "write":
                data = operation.data
                if not is_durable and share < 1 and rng.random() < 0.3:
                    data = data[: rng.randrange(len(data) + 1) // SECTOR * SECTOR]
                missing = operation.offset - len(content)
                content.extend(bytes(max(missing, 0)))
                content[operation.offset : operation.offset + len(data)] = data
            elif operation.kind == "truncate":
                del content[operation.offset :]
                content.extend(bytes(max(operation.offset - len(content), 0)))
            elif operation.kind == "mkdir":
                folders.add(operation.path)
            elif operation.kind == "unlink":
                names.pop(operation.path, None)
            else:
                names.pop(operation.source, None)
                names[operation.path] = operation.inode
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in sorted(folders):
            if all(str(parent) in folders for parent in _above(path, self.root)):
                (folder / Path(path).relative_to(self.root)).mkdir(exist_ok=True)
        for path, inode in names.items():
            target = folder / Path(path).relative_to(self.root)
            if target.parent.is_dir():
                target.write_bytes(contents.get(inode, b""))


def _above(path: str, root: Path) -> list[Path]:
    return [parent for parent in Path(path).parents if parent.is_relative_to(root)]


def record(workload: Workload, out: Path) -> WriteLog:
    """Run a workload of the offline teacher under strace, and read what it wrote."""
    log = out.with_suffix(".writes")
    line = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "1000000", "-o", str(log)]
    line += ["-e", f"trace={TRACED}", "-e", "signal=none"]
    code = syscalls.run([*line, *workload.command(out, None)], workload)
    assert code == 0, f"the run ended with {code}"
    found = parse(log, out)
    log.unlink()
    return found


def parse(log: Path, root: Path) -> WriteLog:
    """Read what strace wrote; a call counts from where it returned, a sync from where it began."""
    found = WriteLog(root)
    begun: dict[str, tuple[str, int]] = {}
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            text, at = line.rstrip("\n"), len(found.operations)
            pid = text.partition(" ")[0]
            if text.endswith("<unfinished ...>"):
                begun[pid] = text.removesuffix("<unfinished ...>").rstrip(), at
                continue
            if (went_on := syscalls.RESUMED.match(text)) is not None and pid in begun:
                head, at = begun.pop(pid)
                text = head + went_on["rest"]
            if (call := CALL.match(text)) is not None:
                _take(found, call["name"], call["given"], at)
    return found


def _take(log: WriteLog, name: str, given: str, begun_at: int) -> None:
    strings = [_bytes(text) for text in HEX.findall(given)]
    in_fd = FD_PATH.match(given)
    where = _bytes(in_fd[1]).decode(errors="replace") if in_fd else ""
    if name in ("fsync", "fdatasync"):
        log.synced(where, begun_at)
    elif name in ("write", "pwrite64", "ftruncate"):
        log.add(name, [where], strings[0] if strings else b"", given)
    else:
        log.add(name, [text.decode(errors="replace") for text in strings], b"", given)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
