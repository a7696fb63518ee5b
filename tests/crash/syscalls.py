"""Run under strace: die at the n-th call of a kind, or write down the order of all of them."""

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.crash.workload import Workload

CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "ftruncate",
    "unlink",
    "mkdir",
)
"""What a run does to its directory. Where a kernel has rename and renameat, both are meant."""
FAMILY = {
    "rename": "rename,renameat,renameat2",
    "unlink": "unlink,unlinkat",
    "mkdir": "mkdir,mkdirat",
}
TRACED = ",".join([FAMILY.get(call, call) for call in CALLS] + ["openat", "pwritev", "writev"])
LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<given>.*)\) += (?P<gave>-?\d+)")
RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)")
IN_FD = re.compile(r"^\d+<(?P<path>[^>]*)>")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
KILLED = (-9, 137)


def missing() -> str | None:
    """Why this machine cannot trace, null where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "true"], capture_output=True, check=False, timeout=20)
    return None if tried.returncode == 0 else "strace may not trace here"


@dataclass(frozen=True)
class Call:
    """One system call: its name, the files that it is about, and how many bytes it wrote."""

    name: str
    paths: tuple[str, ...]
    given: str
    gave: int


def die_at(call: str, nth: int, workload: Workload, out: Path, url: str | None = None) -> int:
    """Run the workload and kill it as it enters the n-th call of a family; the exit code.

    Each thread counts for itself. With `--seccomp-bpf`, strace 6.1 injects nothing.
    """
    names = FAMILY.get(call, call)
    inject = f"inject={names}:signal=KILL:when={nth}"
    line = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={names}", "-e", inject]
    return run_traced([*line, *workload.command(out, url)], workload)


def trace(workload: Workload, out: Path, url: str | None = None, more: str = "") -> list[Call]:
    """Run the workload to its end; every call that changes files, in the order of completion."""
    log = out.with_suffix(".trace")
    line = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "96", "-o", str(log)]
    line += ["-e", f"trace={TRACED}{more}", "-e", "signal=none"]
    code = run_traced([*line, *workload.command(out, url)], workload)
    assert code == 0, f"the run ended with {code}: {out.with_suffix('.said').read_text()[-500:]}"
    return parse(log.read_text(errors="replace"))


def run_traced(line: list[str], workload: Workload) -> int:
    out = Path(line[line.index("--out") + 1])
    with out.with_suffix(".said").open("ab") as said:
        environment = workload.environment({"PYTHONDONTWRITEBYTECODE": "1"})
        return subprocess.run(
            line,
            cwd=workload.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=120,
            check=False,
        ).returncode


def parse(text: str) -> list[Call]:
    """Read what `strace -f -y -o` wrote; a call that was interrupted counts where it went on."""
    begun: dict[str, str] = {}
    found = []
    for line in text.splitlines():
        pid = line.partition(" ")[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
            continue
        if (went_on := RESUMED.match(line)) is not None and pid in begun:
            line = begun.pop(pid) + went_on["rest"]
        if (match := LINE.match(line)) is None or int(match["gave"]) < 0:
            continue
        in_fd = IN_FD.match(match["given"])
        if match["name"] in ("write", "pwrite64", "pwritev", "writev", "fsync", "fdatasync",
                             "ftruncate", "sendto", "sendmsg"):  # fmt: skip
            paths = (in_fd["path"],) if in_fd else ()
        else:
            paths = tuple(QUOTED.findall(match["given"]))
        found.append(Call(match["name"], paths, match["given"], int(match["gave"])))
    return found


def counts(calls: list[Call]) -> Counter[str]:
    """How often each family was called, by anything in the process."""
    found: Counter[str] = Counter()
    for call in calls:
        for family in CALLS:
            if call.name in FAMILY.get(family, family).split(","):
                found[family] += 1
    return found


# R8: in which order a file must come to be


def order_violations(calls: list[Call], run: Path) -> list[str]:
    """What breaks: write elsewhere, fsync, re-open, rename, fsync the folder, then the manifest.

    Holds for everything that is renamed into the run directory. Shards are also to be read back
    before they are renamed and to be durable in their place, folders on the way included, before a
    manifest says that they are there.
    """
    found = []
    dirty: set[str] = set()  # written, or made, and not yet synced
    opened_since: set[str] = set()  # read again since it was synced
    unsynced_names: dict[str, str] = {}  # folder -> a name in it that is not durable
    for call in calls:
        if call.name in ("write", "pwrite64", "pwritev", "writev", "ftruncate") and call.paths:
            dirty.add(call.paths[0])
            opened_since.discard(call.paths[0])
            if _is_published(call.paths[0], run):
                found.append(f"{_short(call.paths[0], run)} was written in its place")
        elif call.name in ("fsync", "fdatasync") and call.paths:
            dirty.discard(call.paths[0])
            unsynced_names.pop(call.paths[0], None)
        elif call.name == "openat" and "O_RDONLY" in call.given and call.paths:
            opened_since.add(call.paths[-1])
        elif call.name.startswith("mkdir") and call.paths:
            unsynced_names[str(Path(call.paths[-1]).parent)] = call.paths[-1]
        elif call.name.startswith("rename") and len(call.paths) >= 2:
            source, target = call.paths[0], call.paths[-1]
            if not target.startswith(f"{run}/") or target == f"{run}/progress.json":
                continue  # progress is for whoever looks now and need not outlive a power cut
            found += _before_rename(source, target, dirty, opened_since, run)
            if target.endswith(("stage.json", "run.json")):
                found += _before_manifest(target, unsynced_names, run)
            unsynced_names[str(Path(target).parent)] = target
    return found + [
        f"{_short(name, run)}: its folder was never synced" for name in unsynced_names.values()
        if f"{name}/".startswith(f"{run}/") and "/.staging" not in name
    ]  # fmt: skip


def _before_rename(
    source: str, target: str, dirty: set[str], opened_since: set[str], run: Path
) -> list[str]:
    found = []
    if source in dirty:
        found.append(f"{_short(target, run)} was renamed before it was synced")
    if target.endswith(".parquet"):
        if source not in opened_since:
            found.append(f"{_short(target, run)} was not read back before it was renamed")
        if not source.startswith(f"{run}/.staging/"):
            found.append(f"{_short(target, run)} was not staged in .staging: {source}")
    return found


def _before_manifest(target: str, unsynced_names: dict[str, str], run: Path) -> list[str]:
    """A manifest may not be there before what it speaks of, and the folders that hold it."""
    folder = str(Path(target).parent)
    spoken_of = {
        name
        for parent, name in unsynced_names.items()
        if name.startswith(f"{folder}/") and "/.staging" not in name and parent != folder
    }
    return [f"{_short(target, run)} came before {_short(name, run)} was durable"
            for name in sorted(spoken_of)]  # fmt: skip


def _is_published(path: str, run: Path) -> bool:
    inside = path.startswith((f"{run}/stages/", f"{run}/data/"))
    return inside and not Path(path).name.startswith(".new-")


def _short(path: str, run: Path) -> str:
    return path.removeprefix(f"{run}/")


def sends_before_the_journal_is_durable(calls: list[Call]) -> list[str]:
    """With one request open at a time: what leaves while records are written and not synced."""
    found = []
    unsynced = 0
    n_sent = 0
    for call in calls:
        is_journal = bool(call.paths) and call.paths[0].endswith("journal.sqlite-wal")
        if call.name.startswith("pwrite") and is_journal:
            unsynced += 1
        elif call.name in ("fsync", "fdatasync") and is_journal:
            unsynced = 0
        elif '"POST /v1' in call.given:
            n_sent += 1
            if unsynced:
                found.append(
                    f"request {n_sent} left with {unsynced} writes of the journal unsynced"
                )
    return found if n_sent else ["no request was seen to leave"]
