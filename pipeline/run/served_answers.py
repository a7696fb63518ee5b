"""Answers by vLLM, which is started for the evaluation with the adapters loaded, and ended.

It is sent token ids, so that data stays text, and says the ids of what it answers. Each answer is
written down as it comes, beside those of transformers (`pipeline.train.answers`): nothing that is
there is asked for again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InterruptedRunError, TeacherError
from pipeline.recipe import Step
from pipeline.run.aside import unless_told
from pipeline.run.context import Context
from pipeline.run.evaluated import Models
from pipeline.store import StageFolder
from pipeline.teacher.call import Call, Received, Teacher, Unanswered, canonical
from pipeline.teacher.settings import TeacherSettings, VLLMSettings
from pipeline.teacher.vllm.command import Served
from pipeline.train.answers import ended, lines, rewrite
from pipeline.train.evaluate_settings import BASE, Config

AT_ONCE = 32
DEFAULT_RANK = 16
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM can be told to make room for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model as its server calls it, the prompts without an answer, and where answers go."""

    model: str
    prompts: list[dict[str, Any]]
    path: Path


async def answer_by_vllm(
    context: Context, step: Step, folder: StageFolder, work: Path, models: Models
) -> None:
    """Have vLLM answer every prompt in `work` that is not answered yet, one server a base."""
    from pipeline.teacher.vllm.vllm_teacher import VLLMTeacher

    assert isinstance(step.config, Config)
    assert step.config.vllm is not None
    left = {str(one["name"]): _left(work, str(one["name"])) for one in models}
    total = sum(n for n, _ in left.values())
    done = total - sum(len(prompts) for _, prompts in left.values())
    for base in dict.fromkeys(str(one["base"]) for one in models):
        of_base = [one for one in models if one["base"] == base]
        if not any(left[str(one["name"])][1] for one in of_base):
            continue
        adapters = {str(one["name"]): str(one["adapter"]) for one in of_base if one["adapter"]}
        name = BASE if adapters else str(of_base[0]["name"])
        served = Served(name, Path(base), _settings(step.config.vllm, adapters), step.name)
        assert context.engines is not None
        engine = context.engines.serving(served)
        settings = TeacherSettings(timeout_s=step.config.timeout_s)
        teacher = VLLMTeacher(engine, settings, writes=False)

        def tell() -> None:
            nonlocal done
            done += 1
            context.tell(folder, total, done)

        try:
            asked = [_asked(one, name, left[str(one["name"])][1], work) for one in of_base]
            await unless_told(context.ending, _all(teacher, step, asked, tell))
        finally:
            await teacher.close()
            await context.engines.end(engine)


def _left(work: Path, name: str) -> tuple[int, list[dict[str, Any]]]:
    """How many prompts a model has, and those without an answer."""
    prompts = list(lines(work / f"{name}.prompts.jsonl"))
    path = work / f"{name}.answers.jsonl"
    there = list(lines(path))
    rewrite(path, there)
    answered = {one["at"] for one in there}
    return len(prompts), [one for one in prompts if one["at"] not in answered]


def _settings(given: VLLMSettings, adapters: dict[str, str]) -> VLLMSettings:
    """The user's settings with the adapters, and room for the largest of them."""
    options = dict(given.options)
    if adapters and "max_lora_rank" not in options:
        most = max(_rank(Path(folder)) for folder in adapters.values())
        if most > DEFAULT_RANK:
            options["max_lora_rank"] = next((rank for rank in RANKS if rank >= most), most)
    return given.model_copy(
        update={"lora_modules": adapters, "adapter": next(iter(adapters), None), "options": options}
    )


def _rank(adapter: Path) -> int:
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return max(int(config.get("r") or 1), *map(int, (config.get("rank_pattern") or {}).values()), 1)


def _asked(
    model: dict[str, str | None], whole: str, prompts: list[dict[str, Any]], work: Path
) -> Asked:
    """What is asked for one model; a server calls the one that it serves `whole`."""
    called = str(model["name"]) if model["adapter"] else whole
    return Asked(called, prompts, work / f"{model['name']}.answers.jsonl")


async def _all(
    teacher: Teacher, step: Step, asked: Sequence[Asked], tell: Callable[[], None]
) -> None:
    """Ask one model of a server after the other; each answer is told."""
    for one in asked:
        async with aclosing(_each(teacher, step, one.model, one.prompts, one.path)) as answers:
            async for _ in answers:
                tell()


async def _each(
    teacher: Teacher, step: Step, model: str, prompts: list[dict[str, Any]], path: Path
) -> AsyncGenerator[int, None]:
    """Ask for all answers, at most `AT_ONCE` at a time; gives each one's place once it is there."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: dict[str, Any]) -> int:
        async with gate:
            found = await _answer(teacher, step, model, prompt)
        file.write(json.dumps({"at": prompt["at"], **found}) + "\n")
        file.flush()
        return int(prompt["at"])

    with path.open("a", encoding="utf-8") as file:
        tasks = [asyncio.create_task(one(prompt)) for prompt in prompts]
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            for left in tasks:
                left.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(
    teacher: Teacher, step: Step, model: str, prompt: dict[str, Any]
) -> dict[str, Any]:
    """The answer to one prompt: ids, and how it ended."""
    body = {
        "model": model,
        "prompt": prompt["ids"],
        "max_tokens": prompt["most"],
        "temperature": 0,
        "repetition_penalty": 1.0,  # or what the model's own settings say is taken
        "stop_token_ids": prompt["ends"],
        "return_token_ids": True,
    }
    content = canonical("completions", body)
    call = Call(step.name, prompt["at"], "completions", body, content, template="", values={})
    try:
        received = await teacher.send(call)
    except Unanswered as error:
        raise InterruptedRunError(
            f"vLLM has not answered a prompt of {step.name} ({error}). Start the same command "
            "again: what it has answered is there."
        ) from error
    return _read(received, prompt["ends"])


def _read(received: Received, ends: list[int]) -> dict[str, Any]:
    """The ids of an answer without the token that ended it, and how it ended."""
    try:
        choice = json.loads(received.raw)["choices"][0]
        found = ended([int(one) for one in choice["token_ids"]], set(ends))
        is_stopped = choice["finish_reason"] == "stop"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        said = received.raw[:300].decode(errors="replace")
        raise TeacherError(
            f"vLLM answers ({received.status}) without the ids of its tokens: {said}. A newer "
            "vLLM says them (return_token_ids)."
        ) from error
    return found | ({"finish": "stop"} if is_stopped else {})
