"""Row 55: data files that are bombs, or something else than their name says (S4, S5)."""

import gzip
import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.security.command import environment, line

WATCH = Path(__file__).with_name("watch.py")
PEAK = (
    "import atexit, os, resource, sys\n"
    "end = os._exit\n"
    "def said(code):\n"
    "    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "    open(os.environ['PEAK'], 'w').write(str(peak)); end(code)\n"
    "os._exit = said\n"
)


class Payload:
    """Unpickling it would end the process with 99."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return sys.exit, (99,)


def in_zip(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return out.getvalue()


def imported(tmp_path: Path, path: Path) -> tuple[subprocess.CompletedProcess[bytes], float]:
    """Run `curate` on a file under the watch: how it ended, and the most MiB that it held."""
    variables = {
        "WATCH_LOG": str(tmp_path / "watch.log"),
        "WATCH_INSIDE": f"{tmp_path}:/tmp",
        "PEAK": str(tmp_path / "peak"),
    }
    before = f"{WATCH.read_text()}\n{PEAK}"
    given = ("run", "curate", "--input", str(path), "--out", str(tmp_path / "run"))
    done = subprocess.run(
        line(*given, before=before), env=environment(**variables), capture_output=True, timeout=120
    )
    log = (tmp_path / "watch.log").read_text()
    assert "watching" in log
    assert "pickle.find_class" not in log
    return done, int((tmp_path / "peak").read_text()) / 1024


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The memory of refusing a file of one wrong line."""
    folder = tmp_path_factory.mktemp("usual")
    (folder / "rows.jsonl").write_text("no JSON\n")
    done, peak = imported(folder, folder / "rows.jsonl")
    assert done.returncode == 2
    return peak


STRANGE = {
    "pickle.parquet": pickle.dumps(Payload()),
    "pickle.jsonl": pickle.dumps(Payload()),
    "zip.parquet": in_zip("rows.parquet", bytes(1 << 20)),
    "zip.jsonl": in_zip("../../rows.jsonl", bytes(1 << 20)),
    "gzip.jsonl": gzip.compress(b'{"instruction": "Name a lake."}\n' * 100_000),
    "torn.parquet": b"PAR1" + b"\xff" * 64 + b"PAR1",
    "nested.jsonl": b'{"instruction": ' + b"[" * 1_000_000,
    "number.jsonl": b'{"instruction": ' + b"9" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_file_that_is_not_what_its_name_says_is_refused_and_nothing_in_it_runs(
    tmp_path: Path, usual: float, name: str
) -> None:
    (tmp_path / name).write_bytes(STRANGE[name])
    done, peak = imported(tmp_path, tmp_path / name)
    assert done.returncode == 2, done.stderr
    assert name.encode() in done.stderr
    assert peak <= usual + 256
    assert not (tmp_path / "run").exists()
