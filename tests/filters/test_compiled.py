import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
from filters.compiled import compiled

@compiled
def doubled(x):
    return 2 * x

@compiled
def quadrupled(x):
    return doubled(doubled(x))
"""
CALL = "import kernels; print(kernels.quadrupled(3), kernels.quadrupled.stats.cache_hits.total())"
# Python ignores the signal, and a write beyond the limit fails as one on a full disk does
WITHOUT_ROOM = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)); {CALL}"
ROOT = Path(__file__).parents[2]


def called(folder: Path, script: str = CALL) -> str:
    """The answer in a process of its own, and how often compiled code was read for it."""
    if not (folder / "kernels.py").exists():  # its time is part of what was compiled
        (folder / "kernels.py").write_text(KERNELS)
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("kind", "part"), [("nbi", 0), ("nbi", 0.9), ("nbc", 0.5)])
def test_code_that_was_cut_off_is_compiled_again_and_kept(
    kind: str, part: float, tmp_path: Path
) -> None:
    assert called(tmp_path) == "12 0"
    files = [*tmp_path.rglob(f"*.{kind}")]
    assert files
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * part)])
    assert called(tmp_path) == "12 0"
    assert called(tmp_path) == "12 1"


def test_a_full_disk_costs_what_was_compiled_and_no_answer(tmp_path: Path) -> None:
    assert called(tmp_path, WITHOUT_ROOM) == "12 0"
    assert not [*tmp_path.rglob("*.nbc")]
    assert called(tmp_path) == "12 0"
    assert called(tmp_path) == "12 1"
