"""What a power cut may leave of a run: any legal part of what was written and not yet synced.

A run is traced with all that it writes. A directory is then built as it may lie there after a cut
at any call: what was synced is there; of the rest any part is, and of the last writes perhaps only
a beginning. Names are durable once their folder was synced, contents once their file was; a rename
is one step. That is what POSIX promises; file systems promise more.
"""

import codecs
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from tests.crash import published, syscalls
from tests.crash.syscalls import QUOTED, Call
from tests.crash.workload import Workload

EVERYTHING = 1 << 24  # bytes of a write that strace prints


@dataclass
class Step:
    """One change: of the file `inode` (offset and data, or a new length), or of a name in `folder`.

    `synced_at` is the number of the call after which it outlives a power cut.
    """

    at: int
    inode: int = 0
    offset: int = 0
    data: bytes | None = None
    length: int | None = None
    folder: str = ""
    name: str = ""  # what is made, or gone
    source: str = ""  # the name that a rename takes away
    is_folder: bool = False
    is_gone: bool = False
    synced_at: int | None = None


def trace(workload: Workload, out: Path) -> list[Call]:
    """Run to the end; every call that changes files, with all the bytes."""
    log = out.with_suffix(".whole-trace")
    line = ["strace", "-f", "--seccomp-bpf", "-y", "-x", "-s", str(EVERYTHING), "-o", str(log)]
    line += ["-e", f"trace={syscalls.TRACED},pwritev2,lseek", "-e", "signal=none"]
    code = syscalls.run_traced([*line, *workload.command(out, None)], workload)
    assert code == 0, f"the run ended with {code}: {out.with_suffix('.said').read_text()[-500:]}"
    return syscalls.parse(log.read_text(errors="replace"))


class Recording:
    """The steps by which a run directory came to be."""

    def __init__(self, calls: Sequence[Call], run: Path) -> None:
        """Take the calls in order; only what lies in the run directory counts."""
        self.run = str(run)
        self.steps: list[Step] = []
        self.n_calls = len(calls)
        self._names: dict[str, int] = {}
        self._length: dict[int, int] = {}
        self._n_files = 0
        for at, call in enumerate(calls):
            self._take(at, call)

    def _take(self, at: int, call: Call) -> None:
        paths = [_whole(call, path) for path in call.paths]
        if not paths or not any(f"{path}/".startswith(f"{self.run}/") for path in paths):
            return
        if call.name in ("write", "pwrite64", "ftruncate"):
            self._change(at, call, self._names[paths[0]])
        elif call.name in ("fsync", "fdatasync"):
            self._sync(at, paths[0])
        elif call.name == "openat" and "O_CREAT" in call.given:
            self._open(at, paths[-1], is_emptied="O_TRUNC" in call.given)
        elif call.name.startswith("rename"):
            inode = self._names.pop(paths[0])
            self._names[paths[1]] = inode
            self._name(at, paths[1], inode=inode, source=paths[0])
        elif call.name.startswith("unlink"):
            is_folder = "AT_REMOVEDIR" in call.given
            self._names.pop(paths[-1], None)
            self._name(at, paths[-1], is_gone=True, is_folder=is_folder)
        elif call.name.startswith("mkdir"):
            self._name(at, paths[-1], is_folder=True)
        elif call.name in ("writev", "pwritev", "pwritev2"):
            raise AssertionError(f"{call.name} of {paths[0]} is not understood here")

    def _open(self, at: int, path: str, *, is_emptied: bool) -> None:
        if path not in self._names:
            self._n_files += 1
            self._names[path] = self._n_files
            self._length[self._n_files] = 0
            self._name(at, path, inode=self._n_files)
        elif is_emptied:
            inode = self._names[path]
            self._length[inode] = 0
            self.steps.append(Step(at, inode=inode, length=0))

    def _change(self, at: int, call: Call, inode: int) -> None:
        if call.name == "ftruncate":
            length = int(call.given.rsplit(",", 1)[1])
            self._length[inode] = length
            self.steps.append(Step(at, inode=inode, length=length))
            return
        printed = QUOTED.findall(call.given)[-1]
        data = codecs.escape_decode(printed.encode("latin-1"))[0][: call.gave]
        assert len(data) == call.gave, f"a write of {call.gave} bytes was recorded with {len(data)}"
        offset = self._length[inode]  # plain writes go on at the end
        if call.name == "pwrite64":
            offset = int(call.given.rsplit(",", 1)[1])
        self._length[inode] = max(self._length[inode], offset + len(data))
        self.steps.append(Step(at, inode=inode, offset=offset, data=data))

    def _name(self, at: int, path: str, **found: object) -> None:
        folder = str(Path(path).parent)
        self.steps.append(Step(at, folder=folder, name=path, **found))  # type: ignore[arg-type]

    def _sync(self, at: int, path: str) -> None:
        inode = self._names.get(path)
        for step in self.steps:
            is_meant = step.folder == path if inode is None else step.inode == inode
            if is_meant and step.synced_at is None and (inode is None or not step.name):
                step.synced_at = at

    def after(self, cut: int, rng: Random) -> dict[str, bytes]:
        """The files that may be there after a power cut before call number `cut`."""
        share = rng.choice([0.0, 0.3, 0.7, 1.0])
        taken = []
        for step in self.steps:
            if step.at >= cut:
                break
            if step.synced_at is not None and step.synced_at < cut:
                taken.append(step)
            elif rng.random() < share:
                taken.append(_torn(step, rng))
        return self.built(taken)

    def whole(self) -> dict[str, bytes]:
        """The files that are there at the end where no power is cut."""
        return self.built(self.steps)

    def built(self, steps: Sequence[Step]) -> dict[str, bytes]:
        """Do the steps."""
        names: dict[str, int] = {}
        folders = {self.run}
        contents: dict[int, bytearray] = {}
        for step in steps:
            if not step.name:
                _write(contents.setdefault(step.inode, bytearray()), step)
                continue
            names.pop(step.source, None)
            if step.is_folder:
                (folders.discard if step.is_gone else folders.add)(step.name)
            elif step.is_gone:
                names.pop(step.name, None)
            else:
                names[step.name] = step.inode
        return {
            path: bytes(contents.get(inode, b""))
            for path, inode in names.items()
            if all(str(parent) in folders for parent in Path(path).parents
                   if f"{parent}/".startswith(f"{self.run}/"))
        }  # fmt: skip


def _whole(call: Call, path: str) -> str:
    """A path that is given relative to an open folder, in full."""
    folder = syscalls.IN_FD.match(call.given)
    return path if path.startswith("/") or folder is None else f"{folder['path']}/{path}"


def _torn(step: Step, rng: Random) -> Step:
    if step.data is None or rng.random() < 0.7:
        return step
    kept = rng.randint(0, len(step.data))
    return Step(step.at, inode=step.inode, offset=step.offset, data=step.data[:kept])


def _write(content: bytearray, step: Step) -> None:
    if step.length is not None:
        del content[step.length :]
        content.extend(bytes(step.length - len(content)))
    elif step.data is not None:
        content.extend(bytes(max(0, step.offset - len(content))))
        content[step.offset : step.offset + len(step.data)] = step.data


def lay_out(files: dict[str, bytes], run: str, out: Path) -> None:
    """Write the files of a run directory somewhere else."""
    out.mkdir()
    for path, content in files.items():
        target = out / Path(path).relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def violations(run: Path) -> list[str]:
    """What is wrong with a directory after a power cut: published files, books, journal."""
    found = []
    for path in sorted([*run.glob("stages/*/*/*.parquet"), *run.glob("data/*/*.parquet")]):
        try:
            pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            found.append(f"{path.relative_to(run)} is published and broken: {str(error)[:100]}")
    last, wrong = _journal(run)
    found += wrong
    for path in run.glob("stages/*/stage.json"):
        try:
            state = json.loads(path.read_bytes())
        except ValueError:
            found.append(f"{path.relative_to(run)} is published and broken")
            continue
        for part in state["parts"]:
            if part["journal"] > last:
                found.append(f"{path.parent.name}: a part used record {part['journal']} of {last}")
            for half in ("kept", "dropped"):
                shard = path.parent / part[half]["path"]
                if not shard.exists():
                    found.append(f"{shard.relative_to(run)} is listed and not there")
                elif hashlib.sha256(shard.read_bytes()).hexdigest() != part[half]["sha256"]:
                    found.append(f"{shard.relative_to(run)} is not what is listed")
    return found


def _journal(run: Path) -> tuple[int, list[str]]:
    try:
        records = published.journal(run)
    except sqlite3.DatabaseError as error:
        return 0, [f"the journal cannot be read: {error}"]
    found = [f"record {r.number} of the journal is damaged" for r in records if not r.is_sound]
    if [r.number for r in records] != list(range(1, len(records) + 1)):
        found.append("the numbers of the journal's records are not consecutive")
    return len(records), found
