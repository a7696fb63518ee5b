"""Runs against a real server: `transformers serve`, over a small model with random weights."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra 'train'")
pytest.importorskip("transformers", reason="needs the extra 'train'")
pytest.importorskip("uvicorn", reason="needs the extra 'train'")
pytest.importorskip("fastapi", reason="needs the extra 'train'")

from pipeline.package_data import PROMPTS
from pipeline.train import tiny
from pipeline.verify import verify
from tests.conftest import run_and_recount
from tests.run import books
from tests.run.processes import environment

RECIPE = """
name: served
stages:
  - stage: import
  - stage: classify
  - stage: rate
    sampling: {temperature: 1, max_tokens: 100}
"""
SIZE = tiny.Size(vocabulary=280, width=64, layers=1, context=4096)
"""A random model ends a reply once in as many tokens as it has words."""
N = 20
START_S = 120
ANSWERED = re.compile(r'"POST /v1/chat/completions HTTP/1\.1" 200')


@dataclass
class Serve:
    """`transformers serve`, its model's folder, and what it has said."""

    model: Path
    port: int
    log: Path

    @property
    def teacher(self) -> str:
        return f"openai:{self.model}@http://127.0.0.1:{self.port}/v1"

    def answered(self) -> int:
        """How many requests it has answered."""
        return len(ANSWERED.findall(self.log.read_text(encoding="utf-8")))


@contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    """Serve until the block ends."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PROMPTS.glob("*.md"))]
    tokenizer = tiny.make_tokenizer(texts, SIZE)
    model = tiny.make_model(tokenizer, SIZE, seed=5)
    model.generation_config.update(do_sample=True, top_k=0)  # else a temperature means nothing
    tiny.save(folder / "model", model, tokenizer)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Serve(folder / "model", port, folder / "serve.log")
    command = [Path(sys.executable).with_name("transformers"), "serve", found.model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with found.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + START_S
        while not is_up(port):
            assert process.poll() is None, found.log.read_text()
            assert time.monotonic() < until, found.log.read_text()
            time.sleep(0.1)
        yield found
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("serve")) as found:
        yield found


@pytest.fixture(scope="module")
def asked(
    serve: Serve, small_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """A run with a schema that the server takes no notice of, and the replies that it gave."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "served.yaml").write_text(RECIPE, encoding="utf-8")
    before = serve.answered()
    run_and_recount(
        folder / "run",
        "teacher.structured_output=true",
        recipe=str(folder / "served.yaml"),
        input=str(small_run),
        teacher=serve.teacher,
        limit=N,
    )
    return folder / "run", serve.answered() - before


def replies(run: Path) -> list[tuple[str, str, str]]:
    """The stage, the text and how it ended of each reply."""
    found = []
    for record in books.records(run):
        if record["kind"] == "reply":
            choice = json.loads(record["raw"])["choices"][0]
            found.append((record["stage"], choice["message"]["content"], choice["finish_reason"]))
    return found


def test_every_reply_of_a_real_server_is_accounted_for(asked: tuple[Path, int]) -> None:
    run, answered = asked
    assert verify(run).findings == []
    given = Counter(stage for stage, _, _ in replies(run))
    assert given == {"classify": N, "rate": N}
    assert answered == 2 * N
    states = {name: books.stage_json(run, name) for name in ("classify", "rate")}
    for state in states.values():
        assert state["candidates"] == state["kept"] + state["dropped"]
        assert state["usage"][0]["requests"] == state["candidates"]
        assert state["usage"][0]["output_tokens"] > 0


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def test_a_server_that_ignores_the_schema_gives_no_rating_instead_of_a_wrong_one(
    asked: tuple[Path, int],
) -> None:
    run, _ = asked
    rated = [(text, ended) for stage, text, ended in replies(run) if stage == "rate"]
    assert {ended for _, ended in rated} == {"stop", "length"}
    assert not any(is_object(text) for text, _ in rated)
    # one of 280 random first tokens is a brace; of a server that kept to the schema all would be
    assert sum(text.lstrip().startswith("{") for text, _ in rated) <= 2
    dropped = books.rows(run, "rate", "dropped")
    assert books.rows(run, "rate") == []
    assert len(dropped) == len(books.rows(run, "classify")) > 0
    named = {"cut_off", "no_number", "no_first_line", "out_of_range"}
    assert {row["drop_reason"] for row in dropped} <= named
    assert {row["rating"] for row in dropped} == {None}
