"""One function a prompt template: the values it was rendered with in, the reply out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from pipeline.teacher.offline import answering, flaws, grammar, pairs, whole_tasks
from pipeline.teacher.offline.reply import REFUSAL, Answer

ITEMS_MISSING = (0, 0, 0, 0, 0, 1, 1, 2)  # how many items fewer than asked for, drawn evenly


def bootstrap(values: Mapping[str, Any], rng: Random) -> Answer:
    r"""Go on with the numbered list of `tasks` from `first`, whose number stands in the prompt.

    >>> reply = bootstrap({"tasks": [], "first": 9, "last": 10}, Random(3))
    >>> reply.text.startswith(" ")
    True
    """
    first, last = int(values["first"]), int(values["last"])
    whole = flaws.whole_reply(rng)
    if whole is not None:
        return Answer(whole, "stop")
    count = max(1, last - first + 1 - rng.choice(ITEMS_MISSING))
    items = [flaws.item(grammar.draft(rng).instruction, values["tasks"], rng) for _ in range(count)]
    text, is_cut = flaws.numbered(items, first, rng)
    return Answer(text, "length" if is_cut else "stop")


def classify(values: Mapping[str, Any], rng: Random) -> Answer:
    """Say whether the instruction is a classification; "No" for one of others."""
    task = grammar.recognise(values["instruction"])
    if task is None:
        return Answer("No", "stop")
    return Answer(flaws.verdict(task.family.is_classification, rng), "stop")


def instances_input_first(values: Mapping[str, Any], rng: Random) -> Answer:
    """Write instances as `Example 1`, fields, `Output: ...`, or `Output: ...` alone."""
    task = grammar.recognise(values["instruction"])
    if task is None:
        return Answer(f"Output: {REFUSAL}", "stop")
    pairs, is_cut = flaws.instances(_pairs(task, int(values["instances"]), rng), task.family, rng)
    if not task.family.field:
        text = "\n\n".join(f"Output: {output}" for _, output in pairs[:1])
    else:
        text = "\n\n".join(
            f"Example {index}\n{task.family.field}: {source}\nOutput: {output}"
            for index, (source, output) in enumerate(pairs, 1)
        )
    return Answer(flaws.cut(text, rng), "length") if is_cut else Answer(text, "stop")


def instances_output_first(values: Mapping[str, Any], rng: Random) -> Answer:
    """Write instances as `Class label: ...` and the input below, about evenly over the labels."""
    task = grammar.recognise(values["instruction"])
    if task is None:
        return Answer(f"Output: {REFUSAL}", "stop")
    pairs, is_cut = flaws.instances(_pairs(task, int(values["instances"]), rng), task.family, rng)
    text = "\n\n".join(f"Class label: {output}\n{source}".rstrip() for source, output in pairs)
    return Answer(flaws.cut(text, rng), "length") if is_cut else Answer(text, "stop")


def rate(values: Mapping[str, Any], rng: Random) -> Answer:
    """Rate an answer: by whether the grammar knows the task, and could have answered so."""
    task = grammar.recognise(values["instruction"])
    if task is None:
        return Answer(REFUSAL, "stop")
    length = len(str(values["output"]).split())
    number = rng.choice((3.5, 4, 4.5, 4.5, 5)) if length > 2 else rng.choice((3, 4, 4.5, 5))
    return Answer(
        f"{number}\nA grammar cannot judge: it knows the task, and the answer has {length} words.",
        "stop",
    )


def _pairs(task: grammar.Task, most: int, rng: Random) -> list[tuple[str, str]]:
    family = task.family
    if not family.field:
        return [family.instance(task.slots, rng)]
    if not family.labels:
        return [family.instance(task.slots, rng) for _ in range(rng.randint(1, max(1, most)))]
    labels = rng.sample(family.labels, len(family.labels))
    count = min(max(1, most), max(len(labels), rng.randint(2, 5)))
    return [family.instance(task.slots, rng, labels[n % len(labels)]) for n in range(count)]


TEMPLATES: dict[str, Callable[[Mapping[str, Any], Random], Answer]] = {
    "bootstrap": bootstrap,
    "classify": classify,
    "instances_input_first": instances_input_first,
    "instances_output_first": instances_output_first,
    "respond-constraints": answering.respond_constraints,
    "one-call": whole_tasks.one_call,
    "unnatural": whole_tasks.unnatural,
    "reformulate": whole_tasks.reformulate,
    "backtranslate": pairs.backtranslate,
    "rate-pair": pairs.rate_pair,
    "prefer": pairs.prefer,
    "rate": rate,
}
