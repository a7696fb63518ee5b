"""A server's start, and how busy it is, are seen while a run works."""

import json
from pathlib import Path

from pipeline.cli.progress import line_of
from pipeline.run.events import Event, Progress, Starting
from pipeline.run.masking import Masking
from pipeline.teacher.vllm.metrics import Load, Meter
from tests.vllm.serving import Serving


def test_events_for_machines(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"starts_after_s": 1, "answers_after_s": 0.8})
    process = serving.begin("--json")
    out, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    events = [json.loads(line) for line in out.splitlines()]
    starts = [one for one in events if one["event"] == "starting"]
    assert {one["server"] for one in starts} == {"vLLM (teacher model)"}
    assert [one["state"] for one in starts][-1] == "done"
    assert "start 1 of" in starts[-2]["said"]
    assert 1 <= starts[-1]["seconds"] < 60
    told = [one for one in events if one["event"] == "progress" and one["stage"] == "classify"]
    assert {(one["running"], one["waiting"]) for one in told} >= {(2, 1)}
    assert any(one["tokens_per_s"] > 0 for one in told if one["tokens_per_s"] is not None)
    log = [json.loads(line) for line in (serving.run / "log.jsonl").read_text().splitlines()]
    assert [one["said"] for one in log if "server" in one] == [""]


def test_lines_for_people() -> None:
    assert line_of(Starting("vLLM (teacher m)", 12.4, "Loading weights")) == (
        "vLLM (teacher m) starts, 12 s: Loading weights"
    )
    assert line_of(Starting("vLLM (teacher m)", 12.4, "", "done")) == (
        "vLLM (teacher m) answers, after 12.4 s"
    )
    assert line_of(Progress("sft", 5, 12, 0, of="steps")).startswith("sft: 5/12 steps, kept 0")
    assert line_of(Progress("sft", 5, 12, 0)).startswith("sft: 5/12, kept 0")
    at_work = Progress("rate", 1, 10, 1, running=3, waiting=0, tokens_per_s=0.0)
    assert "3 in the engine, " in line_of(at_work)
    busy = Progress("rate", 1, 10, 1, running=3, waiting=2, tokens_per_s=51.2)
    assert "3 in the engine and 2 waiting, 51 tokens/s" in line_of(busy)
    assert "engine" not in line_of(Progress("rate", 1, 10, 1))


def test_what_a_server_says_as_it_starts_is_masked_too() -> None:
    told: list[Event] = []
    tell = Masking(["email"]).listener(told.append)
    tell(Starting("vLLM (teacher m)", 2.0, "asked: write to ann.lee@northwindtrade.net"))
    (event,) = told
    assert isinstance(event, Starting)
    assert event.said.startswith("asked: write to ")
    assert "northwindtrade.net" not in event.said


def test_engines_of_one_server_are_summed_up() -> None:
    page = "".join(
        f'vllm:num_requests_{what}{{engine="{engine}",model_name="m"}} {n}.0\n'
        for what in ("running", "waiting")
        for engine, n in ((0, 3), (1, 4))
    )
    written = 'vllm:generation_tokens_total{engine="0"} 1.0e+02\n'
    meter = Meter()
    assert meter.read(page + written, now=0) == Load(7, 7, 0.0)
    assert meter.read(page + written.replace("1.0e+02", "130"), now=2) == Load(7, 7, 15.0)
    assert meter.read(page, now=3) == Load(7, 7, 0.0), "a server that began anew"
    assert meter.read("<html>no metrics</html>") is None
