"""Nothing is written outside the run directory, whatever names and links are there (S3, S12)."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import yaml

from pipeline.errors import DamagedError, StorageError, SynthError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from tests.conftest import RunSynth, ignore
from tests.run import books
from tests.security.command import synth

PARTS = ("..", "../..", "/etc", "~", "~root", "CON", "a\0b", "a\nb", "a" * 300, "ａ", "․․",
         "-rf", ".hidden", "", " ", "a/b", "a\\b", "\x1b[2J", "‮a", "%2e%2e", "$(id)", "`id`", "a;b",
         "..\\..", "//x", "./x", "x/.", "x/../..", "file:///x", "nul\0", "\r", "é/..")  # fmt: skip
FEW = ("bootstrap.target=8", "bootstrap.window=4")


def outside(folder: Path) -> dict[str, tuple[int, str]]:
    """All files of the places around a run, with their contents."""
    return {
        f"{path.relative_to(folder)}": (path.lstat().st_mtime_ns, path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a file that nobody may touch; tests work in `here`, two levels below."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep me")
    here = tmp_path / "a" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    yield tmp_path
    assert (tmp_path / "precious" / "file").read_text() == "keep me"


def names() -> Iterator[str]:
    """Hostile names: each part alone, then parts put together."""
    yield from PARTS
    rng = Random(1)
    for _ in range(200):
        yield "".join(rng.choices(PARTS, k=rng.randint(2, 3)))


def recipe_named(name: str, stage: str) -> str:
    tree = {"name": name, "stages": [{"stage": "bootstrap", "name": stage}, {"stage": "export"}]}
    return yaml.safe_dump(tree)


def test_hostile_names_of_recipes_stages_and_files_write_nothing_outside(around: Path) -> None:
    """`prepare` sees 3 x 232 of them; what it lets pass stays below `runs/`."""
    mine = around / "mine.yaml"
    n_refused, passed = 0, []
    for name in names():
        for kind in ("recipe", "stage", "seeds"):
            settings = [f"seeds={json.dumps(name)}"] if kind == "seeds" else []
            mine.write_text(
                recipe_named(
                    name if kind == "recipe" else "mine", name if kind == "stage" else "one"
                )
            )
            try:
                prepared = prepare(Options(recipe=str(mine), settings=settings), {})
            except SynthError:
                n_refused += 1
                continue
            passed.append((kind, name))
            assert prepared.run.resolve().parent == around / "a" / "here" / "runs"
            assert all(step.name.isascii() for step in prepared.steps)
    assert n_refused > 500
    assert {kind for kind, _ in passed} <= {"recipe", "seeds"}, passed
    mine.unlink()
    assert set(outside(around)) == {"precious/file"}


@pytest.mark.parametrize("name", ["a" * 300, "a\nb", "-rf", "‮a", "$(touch x)", "CON", "․․"])
def test_a_strange_run_directory_is_taken_or_refused_and_nothing_else_is_written(
    around: Path, name: str
) -> None:
    options = Options(recipe="self-instruct", out=f"{Path.cwd()}/{name}", settings=FEW)
    if len(name) > 255:
        with pytest.raises(StorageError):
            prepare(options, {})
    else:
        execute(prepare(options, {}), ignore)
    assert {path.name for path in Path.cwd().iterdir()} <= {name}
    assert {path.name for path in around.iterdir()} == {"precious", "a"}


@pytest.mark.parametrize("name", ["lock", ".staging", "recipe.yaml", "journal.sqlite", "data"])
def test_a_link_in_a_new_run_directory_is_refused(around: Path, name: str) -> None:
    run = around / "a" / "run"
    run.mkdir()
    precious = around / "precious"
    is_folder = name in (".staging", "inputs", "stages", "data")
    (run / "lock").touch()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(precious if is_folder else precious / "file")
    before = outside(precious)
    done = synth("run", "self-instruct", "--out", str(run), *(f"--set={one}" for one in FEW))
    assert done.returncode in ((2, 7) if name not in ("lock", ".staging") else (7,)), done.stderr
    assert outside(precious) == before


@pytest.mark.parametrize("name", [
    ".staging", "stages", "stages/01-bootstrap", "stages/01-bootstrap/kept", "journal.sqlite",
    "journal.sqlite-wal", "log.jsonl", "inputs", "data",
])  # fmt: skip
def test_a_link_in_a_run_that_is_gone_on_with_is_refused(
    run_synth: RunSynth, around: Path, name: str
) -> None:
    run, elsewhere = around / "a" / "run", around / "precious" / "moved"
    run_synth(run, *FEW, until="classify")
    (run / "log.jsonl").touch()
    if (run / name).exists():
        shutil.move(run / name, elsewhere)
    else:
        elsewhere.mkdir()
    (run / name).symlink_to(elsewhere)
    held = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    with pytest.raises(StorageError, match="symbolic link"):
        execute(prepare(Options(recipe="self-instruct", out=str(run), settings=FEW), {}), ignore)
    found = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    assert found == held


def test_a_run_directory_may_be_a_link_to_where_there_is_room(
    run_synth: RunSynth, around: Path
) -> None:
    (around / "scratch").mkdir()
    (around / "run").symlink_to(around / "scratch")
    run_synth(around / "run", *FEW)
    assert (around / "scratch" / "run.json").is_file()


def _change(tree: dict[str, object], path: str, value: object) -> None:
    *way, last = path.split(".")
    for name in way:
        tree = tree[int(name) if isinstance(tree, list) else name]  # type: ignore[assignment]
    tree[last] = value


@pytest.mark.parametrize(("file", "path", "value"), [
    ("stages/01-bootstrap/stage.json", "name", "../../../precious"),
    ("stages/01-bootstrap/stage.json", "name", "x/../../../precious"),
    ("stages/01-bootstrap/stage.json", "index", -1),
    ("stages/01-bootstrap/stage.json", "parts.0.kept.path", "../../../../precious/file"),
    ("stages/01-bootstrap/stage.json", "parts.0.dropped.path", "/etc/passwd"),
    ("run.json", "stages", ["../../precious"]),
    ("run.json", "texts", {"../../precious/file": "0"}),
])  # fmt: skip
def test_a_manifest_that_points_out_of_its_run_is_damaged(
    run_synth: RunSynth, around: Path, file: str, path: str, value: object
) -> None:
    run = around / "a" / "run"
    run_synth(run, *FEW, until="classify")
    tree = json.loads((run / file).read_bytes())
    _change(tree, path, value)
    (run / file).write_text(json.dumps(tree))
    before = outside(around / "precious")
    with pytest.raises(DamagedError):
        execute(prepare(Options(recipe="self-instruct", out=str(run), settings=FEW), {}), ignore)
    assert outside(around / "precious") == before


def test_a_new_run_is_for_its_owner_and_its_files_follow_the_umask(tmp_path: Path) -> None:
    run = tmp_path / "up" / "run"
    before = "import os; os.umask(0o027)"
    done = synth("run", "self-instruct", "--out", str(run), *(f"--set={one}" for one in FEW),
                 before=before)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*") if path.is_file()}
    assert len(modes) > 10
    assert {path.name: oct(mode) for path, mode in modes.items() if mode & 0o027} == {}


@pytest.mark.parametrize(("mode", "is_refused"), [
    (0o777, True), (0o757, True), (0o1777, False), (0o770, False), (0o755, False),
])  # fmt: skip
def test_a_run_directory_that_everybody_may_write_to_is_refused(
    run_synth: RunSynth, tmp_path: Path, mode: int, is_refused: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(mode)
    if is_refused:
        with pytest.raises(StorageError, match="chmod o-w"):
            run_synth(run, *FEW, until="bootstrap")
        assert list(run.iterdir()) == []
    else:
        run_synth(run, *FEW, until="bootstrap")


LASTING = ("lock", "journal.sqlite-reserve")
"""Files of a run, by one name for all its processes; no link is followed to them."""


def test_temporary_names_cannot_be_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_synth: RunSynth
) -> None:
    """Two equal runs have no temporary name in common, and make each of them as a new file."""
    made: list[set[str]] = []
    real: Callable[..., int] = os.open

    def watch(path: object, flags: int, *more: object, **named: object) -> int:
        name = Path(str(path)).name
        if flags & os.O_CREAT:
            assert flags & os.O_NOFOLLOW, path
            if name not in LASTING:
                assert flags & os.O_EXCL, path
                made[-1].add(name)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", watch)
    for name in ("one", "two"):
        made.append(set())
        run_synth(tmp_path / name, *FEW)
    assert min(len(names) for names in made) > 20
    assert not made[0] & made[1]
    assert books.data_files(tmp_path / "one") == books.data_files(tmp_path / "two")
