"""Rows 35 to 38, 42, 51 and 52: the machine misbehaves: disk, descriptors, clock, surroundings."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.errors import StorageError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, Prepared, prepare
from tests.crash import syscalls
from tests.faults import matrix
from tests.faults.matrix import MODEL, SHORT, THREE_ITEMS, C, Ran
from tests.run import books
from tests.security.command import environment, line
from tests.soaked import soaked
from tests.teacher_server.process import Server

PLAN = {"content": THREE_ITEMS}
SLOW = PLAN | {"latency": 0.05}
NOBODY = 65534
FEW = ("--set", "bootstrap.target=20", "--set", "bootstrap.window=8")

NO_STRACE = syscalls.missing()
needs_strace = pytest.mark.skipif(NO_STRACE is not None, reason=str(NO_STRACE))


@pytest.fixture
def server(server: Server) -> Server:
    server.set_plan(PLAN)
    return server


def sent(server: Server) -> int:
    """Requests to the model so far."""
    counts = server.counts()
    return int(counts.get("requests_chat", 0))


def command(out: Path, server: Server) -> list[str]:
    """The run of `matrix.run` as a command line."""
    given = ["run", "self-instruct", "--out", str(out), "--until", "classify"]
    given += ["--teacher", f"openai:{MODEL}@{server.url}"]
    for setting in SHORT:
        given += ["--set", setting]
    return line(*given)


def finish(given: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    more = {"env": environment(), "capture_output": True} | more
    return subprocess.run(given, text=True, check=False, timeout=60, **more)  # type: ignore[call-overload,no-any-return]


def ends_the_same(server: Server, out: Path, clean: Ran) -> None:
    """The same command, now that nothing is wrong, buys the rest alone and ends the same."""
    kept = books.replied(out)
    mark = len(matrix.asked_at(server))
    ran = matrix.run(server, out)
    assert ran.code == 0, ran.error
    assert books.data_files(out) == books.data_files(clean.out)
    again = [e["hash"][:24] for e in server.history("request") if e["kind"] == "chat"][mark:]
    assert not set(kept) & set(again), "bought again"


def prepared_run(server: Server, out: Path) -> Prepared:
    """The run of `matrix.run`, without its recount: a shard that broke off is not listed."""
    teacher = f"openai:{MODEL}@{server.url}"
    options = Options("self-instruct", str(out), teacher=teacher, settings=SHORT, until="classify")
    return prepare(options, {})


# row 35: a write, a sync or a rename fails


class Shim:
    """Fails calls of `os` on files of one run: from the n-th on, or that one alone."""

    def __init__(self, run: Path, nth: int, code: int, at: Callable[[], object], *, once: bool):
        self.run, self.nth, self.code, self.at, self.once = run, nth, code, at, once
        self.seen = self.failed = 0
        self.real = {name: getattr(os, name) for name in ("fsync", "replace")}

    def call(self, name: str, place: str | int, *given: object) -> object:
        path = str(Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place)
        if path.startswith(str(self.run)):
            self.seen += 1
            if self.seen == self.nth or (self.seen > self.nth and not self.once):
                if not self.failed:
                    self.at()
                self.failed += 1
                raise OSError(self.code, os.strerror(self.code), path)
        return self.real[name](place, *given)

    def put_in(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.real:
            patch.setattr(os, name, lambda *given, name=name: self.call(name, *given))


@pytest.mark.parametrize(("nth", "code", "once"), [
    *((nth, errno.ENOSPC, False) for nth in (1, 9, 16, 22, 26, 34)),
    (24, errno.EDQUOT, False),
    *((nth, errno.EIO, True) for nth in (20, 23, 27, 31)),
])  # fmt: skip
def test_after_a_failed_write_nothing_more_is_asked_and_the_same_command_finishes(
    clean: Ran, server: Server, tmp_path: Path, nth: int, code: int, once: bool
) -> None:
    """Rows 35 and 37: syncs and renames of manifests and shards; EIO comes once, and counts."""
    counts: list[int] = []
    shim = Shim(tmp_path, nth, code, lambda: counts.append(sent(server)), once=once)
    prepared = prepared_run(server, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch, matrix.deadline(matrix.DEADLINE_S):
        shim.put_in(patch)
        with pytest.raises(StorageError, match=os.strerror(code)):
            execute(prepared, matrix.ignore)
    assert shim.failed > 0
    assert sent(server) - counts[0] <= (C if counts[0] else 0)
    ends_the_same(server, tmp_path / "run", clean)


@needs_strace
@pytest.mark.parametrize(("call", "code", "when"), [
    ("pwrite64", "ENOSPC", "30+"),
    ("pwrite64", "EDQUOT", "60+"),
    ("fdatasync,fsync", "EIO", "12"),
])  # fmt: skip
def test_a_journal_that_cannot_be_written_ends_the_run(
    clean: Ran, server: Server, tmp_path: Path, call: str, code: str, when: str
) -> None:
    """Rows 35 and 37, in the kernel's place: what sqlite meets in its write-ahead file."""
    out, log = tmp_path / "run", tmp_path / "trace"
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={code}:when={when}"]
    strace = ["strace", "-f", "-P", f"{out}/journal.sqlite-wal", "-o", str(log), *inject]
    server.set_plan(SLOW)
    done = finish([*strace, *command(out, server)])
    failed = log.read_text().count("(INJECTED)")
    assert failed == 1 if when == "12" else failed >= 1
    assert done.returncode == 7, done.stderr
    assert "journal" in done.stderr
    n_settled = len(books.replied(out))
    assert sent(server) - n_settled <= 2 * C, "it went on asking"
    server.set_plan(PLAN)
    ends_the_same(server, out, clean)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = finish(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(disk)])
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def resize(disk: Path, how: str) -> None:
    """Make a mounted file system smaller, larger or read-only."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def once_replied(server: Server, n: int, act: Callable[[], object]) -> threading.Thread:
    """Act once the server has answered `n` requests from now on."""
    before = int(server.counts().get("replies", 0))

    def wait() -> None:
        until = time.monotonic() + 10
        while int(server.counts().get("replies", 0)) < before + n and time.monotonic() < until:
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_disk_that_fills_up_ends_the_run_and_it_goes_on_once_there_is_room(
    clean: Ran, server: Server, small_disk: Path
) -> None:
    counts: list[int] = []
    full_at: list[int] = []

    def fill() -> None:
        for _ in range(50):  # the run writes on between the look and the change
            found = os.statvfs(small_disk)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            line = ["mount", "-o", f"remount,size={used + 8192}", str(small_disk)]
            if subprocess.run(line, check=False, capture_output=True).returncode == 0:
                break
        full_at.append(time.monotonic_ns())
        counts.append(sent(server))

    server.set_plan(PLAN | {"latency": {"median_s": 1.0, "sigma": 0.5}})  # not all at one time
    more = ("teacher.timeout_s=15", "teacher.idle_timeout_s=15", "teacher.connect_timeout_s=5")
    thread = once_replied(server, 20, fill)
    ran = matrix.run(server, small_disk / "run", *more)
    thread.join()
    assert counts, "it was never full"
    assert ran.code == 7, ran.error
    assert "full" in str(ran.error) or "space" in str(ran.error)
    assert str(small_disk) in str(ran.error)
    assert re.search(r"\d+ bytes are free there, make room for \d+", str(ran.error))
    assert open_run(small_disk / "run").manifest.ended is not None
    assert ran.requests - counts[0] <= C
    late = [event for event in server.history("reply") if event["t"] > full_at[0]]
    assert late, "nothing was in flight"
    assert len(books.replied(small_disk / "run")) == sent(server), "a reply was lost"
    assert not (small_disk / "run/journal.sqlite-reserve").exists()
    again = matrix.run(server, small_disk / "run")
    assert (again.code, again.requests) == (7, 0), "it is still full"
    resize(small_disk, "size=300m")
    server.set_plan(PLAN)
    ends_the_same(server, small_disk / "run", clean)


# row 36: a folder that cannot be written to, or goes away


def test_a_file_system_that_can_only_be_read_is_found_before_any_request(
    server: Server, small_disk: Path
) -> None:
    (small_disk / "run").mkdir()
    resize(small_disk, "ro")
    ran = matrix.run(server, small_disk / "run")
    assert (ran.code, ran.requests) == (7, 0)
    assert "cannot be written" in str(ran.error) or "only be read" in str(ran.error)
    assert ran.seconds < 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_found_before_any_request(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir(mode=0o555)
    ran = matrix.run(server, tmp_path / "run")
    assert (ran.code, ran.requests) == (7, 0)
    assert "cannot be written to" in str(ran.error)
    assert ran.seconds < 2


def test_a_run_directory_that_is_removed_ends_the_run(server: Server, tmp_path: Path) -> None:
    out, counts = tmp_path / "run", []

    def remove() -> None:
        out.rename(tmp_path / "away")
        counts.append(sent(server))

    server.set_plan(PLAN | {"latency": 0.1})
    thread = once_replied(server, 8, remove)
    ran = matrix.run(server, out)
    thread.join()
    assert counts
    assert counts[0] > 0
    assert ran.code == 7, ran.error
    assert "no longer there" in str(ran.error)
    assert ran.requests - counts[0] <= 2 * C


# row 36 too: what is there may not be read

RIGHTS = "-dac_override,-dac_read_search"
UNDER_RIGHTS = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"]
"""Root, but for the capabilities by which it reads and writes whatever it likes."""
JOURNAL, BOOTSTRAP = "journal.sqlite", "stages/01-bootstrap"
MANIFESTS = ("run.json", f"{BOOTSTRAP}/stage.json", BOOTSTRAP, "stages", "")
"""What `status` looks at; it does not look at rows and replies."""
PARTS = ["run.json", "stages", JOURNAL, f"{BOOTSTRAP}/kept/part-00000.parquet"]
MORE_PARTS = {*MANIFESTS, f"{BOOTSTRAP}/dropped/part-00000.parquet", f"{BOOTSTRAP}/kept"} - {*PARTS}


@pytest.fixture
def under_rights() -> list[str]:
    """What a command begins with for it to be refused what it may not read."""
    before = UNDER_RIGHTS if os.geteuid() == 0 else []
    if before and (
        shutil.which("setpriv") is None or finish([*before, sys.executable, "-V"]).returncode
    ):
        pytest.skip("root can read anything, and there is no setpriv to give that up with")
    return before


@pytest.mark.parametrize("part", [*PARTS, *map(soaked, sorted(MORE_PARTS))])
def test_a_part_of_a_stopped_run_that_may_not_be_read_ends_it_with_7_and_is_not_made_again(
    clean: Ran, server: Server, tmp_path: Path, under_rights: list[str], part: str
) -> None:
    out = tmp_path / "run"
    assert matrix.run(server, out, "budget.requests=30").code == 3
    before, mark = books.all_files(out), sent(server)
    mode = (out / part).stat().st_mode
    (out / part).chmod(0)
    own = ["verify", "repair", *(["status"] if part in MANIFESTS else [])]
    try:
        done = [
            finish([*under_rights, *given])
            for given in (command(out, server), *(line(name, str(out)) for name in own))
        ]
    finally:
        (out / part).chmod(mode)
    assert sent(server) == mark, "asked"
    for ended in done:
        assert ended.returncode == 7, (ended.args, ended.stdout, ended.stderr)
        assert f"{out / part} is there, and this user may not read it" in ended.stderr
    assert books.all_files(out) == before, "something was changed"
    ends_the_same(server, out, clean)


@pytest.mark.parametrize("given", [["show"], ["show", "--where", "row_id LIKE '%0'"], ["why"]])
def test_rows_that_may_not_be_read_are_not_called_damaged(
    small_copy: Path, under_rights: list[str], given: list[str]
) -> None:
    """`show` by its condition, too, which is left to Polars."""
    shard = next(small_copy.glob("stages/01-*/kept/*.parquet"))
    shard.chmod(0)
    more = {"show": ["bootstrap"], "why": ["bootstrap-000001-00"]}[given[0]]
    done = finish([*under_rights, *line(given[0], str(small_copy), *more, *given[1:])])
    shard.chmod(0o600)
    assert done.returncode == 7, done.stderr
    assert "this user may not read it" in done.stderr


# row 38: no more files may be opened


def test_a_run_that_may_open_few_files_asks_less_at_a_time(server: Server, tmp_path: Path) -> None:
    wide = ("teacher.concurrency=64", "bootstrap.window=64")
    given = [argument for setting in wide for argument in ("--set", setting)]
    server.set_plan(SLOW)
    peaks = {}
    for name, few in (("few", 64), ("many", 256)):
        done = finish(
            [*command(tmp_path / name, server), *given],
            preexec_fn=lambda few=few: resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)),
        )
        assert done.returncode == 0, done.stderr
        assert ("Only 16 requests at a time" in done.stderr) == (name == "few")
        peaks[name] = server.counts()["peak_in_flight"]
    assert peaks["few"] <= 16 < peaks["many"], "64 connections were never wanted"
    assert books.data_files(tmp_path / "few") == books.data_files(tmp_path / "many")


def test_a_run_that_can_open_no_file_ends_with_a_code_and_loses_nothing(
    clean: Ran, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    few = 16  # fewer than the run's own files
    done = finish(
        command(out, server),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)),
    )
    assert done.returncode in (7, 70, 75), done.stderr
    assert "open files" in done.stderr or "unable to open" in done.stderr
    ends_the_same(server, out, clean)


def threads_of(user: int) -> int:
    """How many threads a user has now."""
    n = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            found = dict(row.split(":", 1) for row in path.read_text().splitlines() if ":" in row)
        except OSError:  # it has ended
            continue
        n += int(found["Threads"]) * (int(found["Uid"].split()[0]) == user)
    return n


READS_ALL = "-all,+dac_read_search,+dac_override"
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", f"--inh-caps={READS_ALL}",
             f"--ambient-caps={READS_ALL}"]  # fmt: skip


@pytest.mark.parametrize("more", [1, 5, 7])
def test_a_run_that_may_start_few_threads_ends_with_a_code_and_loses_nothing(
    clean: Ran, server: Server, more: int
) -> None:
    """Where the tests are root's as another user: root has no such limit."""
    user = os.geteuid() or NOBODY
    before = [] if os.geteuid() else AS_NOBODY
    if before and (
        shutil.which("setpriv") is None or finish([*before, sys.executable, "-V"]).returncode
    ):
        pytest.skip("no other user can run this")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        os.chown(folder, user, -1)
        most = threads_of(user) + more
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_NPROC, ({most}, {most}))"
        given = command(out, server)
        given[2] = f"{limit}\n{given[2]}"
        done = finish([*before, *given])
        assert done.returncode in (7, 75), done.stderr  # 75: OpenBLAS sends its process SIGINT
        assert "no more threads" in done.stderr or "SIGINT came" in done.stderr
        ends_the_same(server, out, clean)


def address_space(given: list[str]) -> int:
    """How much address space a command takes at most, by its last `VmPeak`."""
    process = subprocess.Popen(given, env=environment(), stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            text = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = max([peak, *(int(row.split()[1]) for row in text.splitlines() if "VmPeak" in row)])
        time.sleep(0.01)
    assert process.wait() == 0
    return peak * 1024


def test_a_run_without_memory_ends_and_loses_nothing(
    clean: Ran, server: Server, tmp_path: Path
) -> None:
    """Wherever it is that memory ends, in Python or in a library, which may crash the process."""
    whole = address_space(command(tmp_path / "whole", server))
    codes = []
    for share in (16, 20, 24, 36, 42, 60):
        most = whole * share // 100
        done = finish(
            command(tmp_path / "run", server),
            preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
        )
        codes.append(done.returncode)
        assert done.returncode < 0 or done.stderr, "not a word"
        assert done.returncode != 6, f"taken for damage: {done.stderr}"
        assert "this is a bug" not in done.stderr
    assert sum(code != 0 for code in codes) >= 2, f"memory hardly ever ended: {codes}"
    ends_the_same(server, tmp_path / "run", clean)


# row 7: a process that is stopped for longer than its requests and its lease last


def test_a_process_that_was_stopped_goes_on_and_its_run_is_still_its_own(
    clean: Ran, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    server.set_plan(PLAN | {"latency": {"median_s": 0.3, "sigma": 0.6}})  # not all at one time
    short = "from pipeline.run import lock; lock.LEASE_S = 1.5"
    given = command(out, server)
    given[2] = f"{short}\n{given[2]}"
    process = subprocess.Popen(given, env=environment(), stderr=subprocess.PIPE, text=True)
    in_flight: list[int] = []

    def stop() -> None:
        os.kill(process.pid, signal.SIGSTOP)
        in_flight.append(server.counts()["in_flight"])

    once_replied(server, 20, stop).join()
    time.sleep(0.1)
    asked = sent(server)
    time.sleep(3)  # twice the lease, three times what a request may take
    assert sent(server) == asked
    os.kill(process.pid, signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert in_flight[0] > 0
    assert books.data_files(out) == books.data_files(clean.out)
    assert json.loads((out / "lock").read_text())["epoch"] == 1, "the lease was lost and retaken"
    assert sent(server) <= len(books.replied(out)) + C, "more was asked again than was in flight"


# row 42: the clock


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("clock", ["+10y", "-10y x1000"])
def test_a_wrong_or_racing_clock_changes_no_byte(
    clean: Ran, server: Server, tmp_path: Path, clock: str
) -> None:
    began = time.monotonic()
    out = tmp_path / "run"
    done = finish(
        ["faketime", "-f", clock, *command(out, server)],
        env=environment(DONT_FAKE_MONOTONIC="1"),
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20
    assert books.data_files(out) == books.data_files(clean.out)
    started = (out / "run.json").read_text()
    assert f'"started": "{time.strftime("%Y-%m-%dT%H", time.gmtime())}' not in started


# rows 51 and 52: surroundings


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of the offline teacher in ordinary surroundings."""
    out = tmp_path_factory.mktemp("plain") / "run"
    assert finish(line("run", "self-instruct", "--out", str(out), *FEW)).returncode == 0
    return out


@pytest.mark.parametrize("variables", [
    {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "1"},
    {"TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONHASHSEED": "2", "PYTHONUTF8": "0",
     "PYTHONCOERCECLOCALE": "0", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
    {"PYTHONIOENCODING": "ascii", "HOME": "/nonexistent", "PYTHONHASHSEED": "3"},
])  # fmt: skip
def test_time_zone_language_and_hash_seed_change_no_byte(
    plain: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    out = tmp_path / "run"
    done = finish(
        line("run", "self-instruct", "--out", str(out), *FEW), env=environment(**variables)
    )
    assert done.returncode == 0, done.stderr
    assert books.data_files(out) == books.data_files(plain)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_change_nothing(plain: Path, tmp_path: Path, closed: str) -> None:
    out = tmp_path / "run"
    given = line("run", "self-instruct", "--out", str(out), "--json", *FEW)
    done = finish(["sh", "-c", f'"$@" {closed}', "sh", *given])
    assert done.returncode == 0, done.stderr
    assert books.data_files(out) == books.data_files(plain)
    assert "Traceback" not in done.stderr


def test_the_environment_of_cron_is_enough(plain: Path, tmp_path: Path) -> None:
    cron = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    out = tmp_path / "run"
    done = finish(line("run", "self-instruct", "--out", str(out), *FEW), env=cron,
                  stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert books.data_files(out) == books.data_files(plain)


def test_a_terminal_that_knows_no_unicode_is_still_shown_the_rows(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(
        {"content": {"mode": "fixed", "text": " Say why the naïve café keeps its door shut."}}
    )
    ran = matrix.run(server, tmp_path / "run", "bootstrap.target=1", "bootstrap.window=1",
                     until="bootstrap")  # fmt: skip
    assert ran.code == 0
    done = finish(line("show", str(tmp_path / "run")), env=environment(PYTHONIOENCODING="ascii"))
    assert done.returncode == 0, done.stderr
    assert "na\\xefve caf\\xe9" in done.stdout
