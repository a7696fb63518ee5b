"""Runs against real vLLM on a processor: `make vllm-test`."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the extra 'train'")

from pipeline.inspect import open_run
from pipeline.run.events import Event, Progress, Starting
from pipeline.verify import verify
from tests.conftest import run_and_recount
from tests.run import books
from tests.vllm import real
from tests.vllm.real import PYTHON, Running, change_config, requests_served

pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="SYNTH_VLLM_PYTHON names no interpreter with vLLM: make vllm-test"
)

RECIPE = """
name: served
stages:
  - stage: import
  - stage: classify
  - stage: rate
    keep_at_least: 0
    sampling: {temperature: 1, max_tokens: 256}
  - stage: difficulty
  - stage: instances
    sampling:
      temperature: 1
      max_tokens: 64
      extra:
        structured_outputs: {regex: "(Input: [a-z]{3,9}\\\\nO|O)utput: [a-z]{3,9}\\\\n"}
  - stage: export
"""
ROLES = ("teacher", "judge", "scorer")
ASKING = ("classify", "rate", "difficulty", "instances")
PROBES = 2
"""A server is tried through both of its endpoints before it counts as up."""
GONE_S = 15.0
MEASURES = ("scored_tokens", "perplexity", "ifd", "ifd_perplexity")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real.make_model(tmp_path_factory.mktemp("models") / "random")


def replies(run: Path) -> Counter[str]:
    """How many replies of each stage are in the journal."""
    return Counter(one["stage"] for one in books.records(run) if one["kind"] == "reply")


@dataclass
class Served:
    """A run that was killed once, and what was seen when it went on."""

    run: Path
    gone_s: float
    """How long the server outlived the run that was killed."""
    replies_before: Counter[str]
    answered: dict[str, int] = field(default_factory=dict)
    """What the second server had answered when each stage was done."""
    starts: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Starting) and event.state == "done":
            self.starts.append(event.server)
        if isinstance(event, Progress) and event.state == "done" and event.stage in ASKING:
            self.answered[event.stage] = requests_served(self.run)


@pytest.fixture(scope="module")
def served(model: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Three roles on one server; `synth` is killed in mid-run, and the same command goes on."""
    folder = tmp_path_factory.mktemp("served")
    recipe = folder / "served.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    begun = Running(folder, str(recipe), model, "--input", str(small_run), roles=ROLES)
    run = begun.serving.run
    begun.wait(lambda: replies(run).total() > 10)
    assert begun.serving.left()
    began = time.monotonic()
    begun.kill()
    while begun.serving.left() and time.monotonic() < began + 4 * GONE_S:
        time.sleep(0.05)
    found = Served(run, time.monotonic() - began, replies(run))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in real.VARIABLES.items():
            patch.setenv(name, value)
        named = dict.fromkeys(ROLES, f"vllm:{model}")
        given = {"recipe": str(recipe), "input": str(small_run), **named}
        run_and_recount(run, *real.settings(*ROLES), listener=found, **given)
    assert begun.serving.left() == {}
    return found


def test_a_killed_run_takes_its_server_with_it_and_goes_on(served: Served) -> None:
    assert served.gone_s < GONE_S
    rows = len(books.rows(served.run, "import"))
    assert 10 < served.replies_before.total() < 2 * rows
    assert verify(served.run).findings == []


def test_three_roles_share_one_server(served: Served) -> None:
    assert len(served.starts) == 1
    assert [path.name for path in (served.run / "logs").iterdir()] == ["vllm-teacher.log"]


def test_every_reply_is_accounted_for_by_the_server(served: Served) -> None:
    rows = len(books.rows(served.run, "import"))
    bought = replies(served.run)
    assert bought == Counter(classify=rows, rate=rows, difficulty=rows, instances=rows) - Counter(
        difficulty=rows - len(books.rows(served.run, "difficulty")),
        instances=rows - len(books.rows(served.run, "difficulty")),
    )
    here = bought - served.replies_before
    answered = served.answered
    assert answered["rate"] == PROBES + here["classify"] + here["rate"]
    # a row is measured after its instruction and alone: two requests that are answered
    assert answered["difficulty"] - answered["rate"] == 2 * here["difficulty"]
    assert answered["instances"] - answered["difficulty"] == here["instances"]
    kept = books.rows(served.run, "instances")
    assert kept, "vLLM's own structured_outputs make instances that can be read"
    assert all(row["output"].islower() for row in kept)


def test_ratings_are_json_by_the_schema_and_what_is_cut_off_is_read_as_far_as_it_goes(
    served: Served,
) -> None:
    found = {"stop": 0, "length": 0}
    for record in books.records(served.run):
        if record["stage"] != "rate" or record["kind"] != "reply":
            continue
        choice = json.loads(record["raw"])["choices"][0]
        found[choice["finish_reason"]] += 1
        text = choice["message"]["content"]
        if choice["finish_reason"] == "stop":
            tree = json.loads(text)
            assert list(tree) == ["rating", "reason"]
            assert tree["rating"] in [half / 2 for half in range(11)]
        else:
            assert text.startswith('{"rating"')
    assert min(found.values()) > 0, found
    kept = books.rows(served.run, "rate")
    assert len(kept) == sum(found.values())  # all have their number, before they are cut off
    assert {row["rating"] for row in kept} <= {half / 2 for half in range(11)}
    assert len({row["rating"] for row in kept}) > 1


def test_the_scorer_measures_what_transformers_measures(
    served: Served, model: Path, small_run: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "measured.yaml"
    recipe.write_text("name: m\nstages:\n  - stage: import\n  - stage: difficulty\n")
    run_and_recount(tmp_path / "hf", recipe=str(recipe), input=str(small_run), scorer=f"hf:{model}")
    folder = {row["row_id"]: row for row in books.rows(tmp_path / "hf", "difficulty")}
    server = books.rows(served.run, "difficulty")
    assert len(server) > 50
    for row in server:
        assert row["not_measured"] is None
        expected = [folder[row["row_id"]][name] for name in MEASURES]
        assert [row[name] for name in MEASURES] == pytest.approx(expected, rel=1e-4)


def test_bootstrap_ends_as_stuck_and_outlives_a_killed_engine(model: Path, tmp_path: Path) -> None:
    short = "bootstrap.sampling.max_tokens=48"  # an item that is cut off is dropped
    running = Running(tmp_path, "self-instruct", model, "--set", short)
    run = running.serving.run
    running.wait(lambda: replies(run)["bootstrap"] > 20)
    os.kill(running.engine(), signal.SIGKILL)
    code, said = running.end()
    assert code == 4, said
    assert "restart 1 of 3" in said
    assert "restart 2 of 3" not in said
    assert "stall_below is 0.02" in said
    books.check(run)
    assert verify(run).findings == []
    stage = open_run(run).stage("bootstrap")
    assert stage.kept + stage.dropped == stage.candidates >= 500
    assert running.serving.left() == {}


def broken(folder: Path) -> None:
    (folder / "config.json").write_text("{broken")


def lacking(folder: Path) -> None:
    (folder / "config.json").unlink()


def narrow(folder: Path) -> None:
    change_config(folder, head_dim=16, num_attention_heads=8, num_key_value_heads=4)


def long(folder: Path) -> None:
    change_config(folder, max_position_embeddings=1_200_000)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lacking, ["before it answered", "presence of a 'config.json'"]),
        (broken, ["before it answered", "is not a valid JSON file"]),
        (narrow, ["before it answered", "Unsupported CPU attention configuration: head_dim=16"]),
        (
            long,
            ["larger than the available KV cache memory", "lower teacher.vllm.max_model_len"],
        ),
    ],
)
def test_a_model_that_cannot_be_served(
    model: Path, tmp_path: Path, spoil: Any, told: list[str]
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    spoil(folder)
    running = Running(tmp_path, "self-instruct", folder)
    code, said = running.end()
    assert code == 5, said
    message = said[said.index("\nsynth: ") + 1 :]
    assert message.count("synth: ") == 1
    assert "Traceback" not in message
    for one in [*told, "All that it said is in", "logs/vllm-teacher.log"]:
        assert one in message
    assert len(message.splitlines()) < 12, message
    assert running.serving.left() == {}
    assert not replies(running.serving.run)
