"""Fixtures that several folders of tests share."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from pipeline.manifest import RunManifest
from pipeline.run.events import Event
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from tests.run import books
from tests.teacher_server.process import Server, running_server

hypothesis.settings.register_profile("synth", deadline=None)  # machines are busy
hypothesis.settings.load_profile("synth")

LONG = (
    *("crash/test_kills.py", "vllm/test_faults.py", "run/test_evaluation.py", "test_readme.py"),
    *("crash/test_readers.py", "crash/test_other_kills.py", "crash/test_writers.py"),
    *("run/test_training.py", "cli/test_signals.py", "faults/test_matrix_machine.py"),
)
"""What takes a minute and more: begun first, so that at the end no worker is waited for."""

RunSynth = Callable[..., RunManifest]

collect_ignore = ["security/watch.py"]  # runs as the first module of a watched process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; each worker must see the same order."""
    here = Path(__file__).parent
    first = {here / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def ignore(event: Event) -> None:
    """A listener that does not listen."""


def run_and_recount(out: Path, *settings: str, **options: Any) -> RunManifest:
    """Run a recipe here and recount its books."""
    listener = options.pop("listener", ignore)
    environment = options.pop("environment", {})
    given = {"recipe": "self-instruct", "out": str(out), "settings": list(settings), **options}
    manifest = execute(prepare(Options(**given), environment), listener)
    books.check(out)
    return manifest


@pytest.fixture
def run_synth() -> RunSynth:
    """`run_synth(out, "bootstrap.target=60", teacher=...)`: run here, then recount the books."""
    return run_and_recount


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A loopback teacher of this test alone."""
    with running_server(tmp_path / "history.jsonl") as server:
        yield server


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the offline teacher, 60 tasks in shards of 50 rows; not to be changed."""
    out = tmp_path_factory.mktemp("small") / "run"
    run_and_recount(out, "bootstrap.target=60", "shard_rows=50")
    return out


@pytest.fixture
def small_copy(small_run: Path, tmp_path: Path) -> Path:
    """A copy of `small_run` that may be changed."""
    return Path(shutil.copytree(small_run, tmp_path / "run"))
