"""One writer a run: a lease in the file `lock`, renewed while the process works, and an epoch.

Who takes the lease raises the epoch, and every journal commit and every shard checks that the epoch
is still its own: a process that was stopped for longer than its lease and woke up again (a frozen
container, a node that came back) finds another's epoch and writes nothing more. The kernel's lock
only guards the moment in which the file is read and written: by itself it would keep a run from
being taken over, and on network file systems it is not to be relied on.

Age is measured by the file system's own clock (a file just touched against the lease file), so that
neither a wrong clock nor one that jumps makes a lease look old.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import LockedError, StorageError

LEASE_S = 60.0
"""How long a lease lasts that its holder no longer renews; renewed every sixth of it."""
GUARD_S = 1.5
"""How long to try for the moment in which the file is read and written."""

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that has no locks, such as a network one without its lock service."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: host, its boot, process, when that started, and the epoch."""

    host: str
    boot: str
    pid: int
    started: str
    epoch: int

    def is_here(self) -> bool:
        """Whether it is a process of this very machine that can be seen from here."""
        return self.host == socket.gethostname() and self.boot == _boot()

    def is_alive(self) -> bool:
        """Whether the process still runs; only to be asked where it `is_here`."""
        return _started(self.pid) == self.started


class Lease:
    """A lease that is held. `check` raises once another process has taken the run over."""

    def __init__(self, path: Path, holder: Holder) -> None:
        """Begin to renew it."""
        self.path = path
        self.epoch = holder.epoch
        self._holder = holder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `LockedError` where the lease is another's by now."""
        if not self.path.exists():
            raise StorageError(f"{self.path} is no longer there; nothing more is written.")
        found = read(self.path)
        if found is None or found.epoch != self.epoch:
            by = f"process {found.pid} on {found.host}" if found else "somebody"
            raise LockedError(
                f"{self.path.parent} was taken over by {by}; nothing more is written."
            )

    def _renew(self) -> None:
        while not self._end.wait(LEASE_S / 6):
            try:
                with _guarded(self.path) as handle:
                    found = _read(handle)
                    if found is None or found.epoch != self.epoch:
                        return
                    os.utime(handle)
            except (OSError, LockedError):
                continue  # tried again at the next turn; a lease lasts six of them

    def release(self) -> None:
        """Give the lease back, if it is still ours; its epoch stays."""
        self._end.set()
        self._thread.join()
        # what ended the run is to be told, and a lease that is not given back ends by itself
        with contextlib.suppress(OSError), _guarded(self.path) as handle:
            if _read(handle) == self._holder:
                _write(handle, {"epoch": self.epoch})


@contextmanager
def locked(run: Path) -> Iterator[Lease]:
    """Hold the run's lease. Raises `LockedError` that names who holds it."""
    lease = take(run)
    try:
        yield lease
    finally:
        lease.release()


def take(run: Path) -> Lease:
    """Take the lease where it is free, given back, or its holder is dead or silent for too long."""
    path = run / "lock"
    with _guarded(path) as handle:
        holder = _read(handle)
        if holder is not None and not _is_over(path, holder):
            age = _age_s(path)
            raise LockedError(
                f"another process works on {run}: process {holder.pid} on {holder.host}, last seen "
                f"{age:.0f} s ago. If it is gone, wait until its lease ends ({LEASE_S:.0f} s)."
            )
        epoch = 1 + max(_epoch(handle), holder.epoch if holder else 0)
        pid = os.getpid()
        mine = Holder(socket.gethostname(), _boot(), pid, _started(pid) or "", epoch)
        _write(handle, asdict(mine))
    return Lease(path, mine)


def read(path: Path) -> Holder | None:
    """Who holds the lease; null where nobody does. Looks only."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _read(handle)
    finally:
        os.close(handle)


def working(run: Path) -> Holder | None:
    """Who works on the run now, as far as can be seen without touching it."""
    holder = read(run / "lock")
    if holder is None:
        return None
    if holder.is_here():
        return holder if holder.is_alive() else None
    seen = (run / "lock").stat().st_mtime
    return holder if time.time() - seen <= LEASE_S else None


def _is_over(path: Path, holder: Holder) -> bool:
    if holder.is_here() and not holder.is_alive():
        return True
    return _age_s(path) > LEASE_S


def _age_s(path: Path) -> float:
    """Seconds since the lease was renewed, by the clock of the file system."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as now:
        os.utime(now.fileno())
        return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime


@contextmanager
def _guarded(path: Path) -> Iterator[int]:
    """The lease file, open, with nobody else reading and writing it at this moment."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o644)
    try:
        _try_for(GUARD_S, lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB), path)
        yield handle
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise StorageError(
            f"{path}: this file system gives no locks ({error.strerror}), and without them two "
            "processes could work on one run: name a folder on another with --out."
        ) from error
    finally:
        os.close(handle)


def _try_for(seconds: float, act: Callable[[], None], path: Path) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise LockedError(f"{path} is being taken by another process.") from error
            time.sleep(0.02)


def _read(handle: int) -> Holder | None:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        return Holder(
            str(found["host"])[:253],
            str(found["boot"])[:100],
            int(found["pid"]),
            str(found["started"])[:40],
            int(found["epoch"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _epoch(handle: int) -> int:
    """The epoch in a lease file, also of one that was given back; 0 where there is none."""
    try:
        return int(json.loads(os.pread(handle, 4096, 0))["epoch"])
    except (ValueError, KeyError, TypeError):
        return 0


def _write(handle: int, content: dict[str, object]) -> None:
    text = json.dumps(content).encode()
    os.pwrite(handle, text, 0)
    os.ftruncate(handle, len(text))
    os.fsync(handle)


def _boot() -> str:
    """This boot of this machine and this namespace of processes: a number means nothing in others.

    Containers that share their machine's host name each have a process 1.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; null where there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
