"""Answers of a server for an evaluation: what it is asked, what is read, what is not repeated."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InterruptedRunError, SynthError, TeacherError
from pipeline.recipe import Step
from pipeline.run import served_answers
from pipeline.run.aside import unless_told
from pipeline.run.prepare import Options, prepare
from pipeline.signals import Ending
from pipeline.stages import evaluate
from pipeline.teacher.call import Call, Received, Unanswered
from pipeline.teacher.settings import VLLMSettings
from pipeline.train.answers import lines
from pipeline.train.evaluate_settings import Config

STEP = Step("evaluate", evaluate.STAGE, Config())
PROMPTS = [{"at": at, "ids": [1, at], "most": 5, "ends": [2]} for at in range(4)]


class Server:
    """Answers with the ids that it is made of; one that lacks fails."""

    name = "base"

    def __init__(self, answers: dict[int, Any]) -> None:
        self.answers = answers
        self.asked: list[dict[str, Any]] = []

    async def check(self) -> None: ...

    async def send(self, call: Call) -> Received:
        self.asked.append(dict(call.body))
        found = self.answers.get(call.slot)
        if found is None:
            raise Unanswered("timeout", "it is busy")
        if isinstance(found, bytes):
            return Received(400, found)
        ids, finish = found
        choice = {"token_ids": ids, "text": "?", "finish_reason": finish}
        return Received(200, json.dumps({"choices": [choice]}).encode())

    async def close(self) -> None: ...


def ask(server: Server, folder: Path) -> list[dict[str, Any]]:
    """What is written down of a model's answers, those that are lacking asked for."""
    (folder / "base.prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in PROMPTS))
    _, left = served_answers._left(folder, "base")

    async def work() -> None:
        path = folder / "base.answers.jsonl"
        async for _ in served_answers._each(server, STEP, "base", left, path):
            pass

    try:
        asyncio.run(work())
    finally:
        found = sorted(lines(folder / "base.answers.jsonl"), key=lambda one: one["at"])
    return found


def test_ids_are_sent_and_ids_are_read_up_to_what_ends_them(tmp_path: Path) -> None:
    server = Server({0: ([7, 2], "stop"), 1: ([7, 8], "length"), 2: ([9], "stop"), 3: ([], "stop")})
    assert ask(server, tmp_path) == [
        {"at": 0, "ids": [7], "finish": "stop"},
        {"at": 1, "ids": [7, 8], "finish": "length"},
        {"at": 2, "ids": [9], "finish": "stop"},
        {"at": 3, "ids": [], "finish": "stop"},
    ]
    sent = min(server.asked, key=lambda body: body["prompt"])
    assert sent["prompt"] == [1, 0]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("base", 0, 5)
    assert sent["stop_token_ids"] == [2]


def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    broken = Server({0: ([7], "length"), 1: None, 2: ([8], "length"), 3: ([9], "length")})
    with pytest.raises(InterruptedRunError, match="what it has answered is there"):
        ask(broken, tmp_path)
    path = tmp_path / "base.answers.jsonl"
    there = [one["at"] for one in lines(path)]
    assert 1 not in there
    with path.open("a") as file:
        file.write('{"at": 1, "ids": [5')  # a kill cuts the last line
    server = Server({at: ([6], "length") for at in range(4)})
    found = ask(server, tmp_path)
    assert [one["at"] for one in found] == [0, 1, 2, 3]
    assert {body["prompt"][1] for body in server.asked} == set(range(4)) - set(there)


def test_a_signal_ends_the_wait_for_an_answer_that_does_not_come(tmp_path: Path) -> None:
    class Told(Ending):
        """Told to end, without the timer that would break off the process that tests."""

        def told(self) -> None:
            self._seen.append(signal.SIGTERM)
            for tell in self._told:
                tell(False)

    class Silent(Server):
        async def send(self, call: Call) -> Received:
            self.asked.append(dict(call.body))
            if len(self.asked) == len(PROMPTS):
                ending.told()
            await asyncio.sleep(60)
            raise AssertionError("nobody waited")

    ending, server = Told(), Silent({})
    asked = served_answers.Asked("base", PROMPTS, tmp_path / "base.answers.jsonl")
    began = time.monotonic()
    with pytest.raises(InterruptedRunError, match="SIGTERM came"):
        asyncio.run(unless_told(ending, served_answers._all(server, STEP, [asked], list)))
    assert time.monotonic() - began < 10


def test_a_whole_model_is_asked_by_the_name_of_its_server(tmp_path: Path) -> None:
    whole: dict[str, str | None] = {"name": "other", "base": "x", "adapter": None}
    found = served_answers._asked(whole, "adapter", [], tmp_path)
    assert (found.model, found.path.name) == ("adapter", "other.answers.jsonl")
    found = served_answers._asked(whole | {"adapter": "y"}, "base", [], tmp_path)
    assert found.model == "other"


@pytest.mark.parametrize("said", [b"", b"no json", b'{"choices": []}', b'{"choices": [{}]}'])
def test_a_server_that_says_no_ids_ends_the_run(tmp_path: Path, said: bytes) -> None:
    with pytest.raises(TeacherError, match="without the ids of its tokens"):
        ask(Server(dict.fromkeys(range(4), said)), tmp_path)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [({"r": 16}, None), ({"r": 17}, 32), ({"r": 4, "rank_pattern": {"x": 200}}, 256)],
)
def test_a_server_has_room_for_the_largest_adapter(
    tmp_path: Path, config: dict[str, Any], wanted: int | None
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    given = VLLMSettings.model_validate({"options": {"enforce_eager": True}})
    found = served_answers._settings(given, {"adapter": str(tmp_path)})
    assert found.options.get("max_lora_rank") == wanted
    assert found.options["enforce_eager"] is True
    assert found.asked_adapter == "adapter"


@pytest.mark.parametrize(
    ("config", "told"),
    [({"peft_type": "PREFIX_TUNING"}, "of the kind PREFIX_TUNING"),
     ({"peft_type": "LORA", "use_dora": True}, "it is a DoRA"),
     ({"peft_type": "LORA", "init_lora_weights": "pissa"}, "changes the base as well"),
     ({"peft_type": "LORA", "modules_to_save": ["lm_head"]}, "holds whole layers"),
     ({"peft_type": "LORA", "init_lora_weights": True}, None)],
)  # fmt: skip
def test_an_adapter_that_vllm_would_not_serve_as_it_is_is_refused_first(
    tmp_path: Path, config: dict[str, Any], told: str | None
) -> None:
    base, adapter, rows = (tmp_path / name for name in ("base", "adapter", "rows.jsonl"))
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").touch()
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.safetensors").touch()
    rows.write_text('{"instruction": "Add.", "output": "2"}\n')
    named = [f"evaluate.base={base}", f"evaluate.adapter={adapter}"]
    with pytest.raises(SynthError) as caught:
        prepare(
            Options(
                "evaluate",
                out=str(tmp_path / "run"),
                input=str(rows),
                settings=[*named, "evaluate.vllm={python: /bin/false}"],
            )
        )
    said = str(caught.value)
    assert "evaluate.vllm.python" in said
    assert (told or "leave evaluate.vllm out") in said if told else "leave evaluate" not in said
