"""The offline teacher answers, drafts whole tasks, says tasks again and goes back from answers."""

from random import Random
from typing import Any

import pytest

from pipeline.seed_tasks import BUILTIN, TaskPool, load
from pipeline.stage import Drop, Reply
from pipeline.stages import backtranslate, one_call, reformulate, respond, unnatural
from pipeline.stages.final_answer import final_answer, is_same_answer
from pipeline.teacher.offline import answer, grammar
from pipeline.teacher.offline.answering import REFUSALS
from pipeline.teacher.offline.families import FAMILIES
from pipeline.teacher.offline.family import TAIL, Family
from pipeline.teacher.offline.pairs import family_of
from pipeline.teacher.offline.reply import REFUSAL
from pipeline.teacher.offline.solving import solve

FIELDED = [family for family in FAMILIES if family.field]
SUMS = [family for family in FAMILIES if family.setting == "sum"]


def drawn(family: Family, count: int) -> list[tuple[grammar.Task, str, str]]:
    rng = Random(f"drawn {family.name}")
    tasks = [grammar.draft(rng, (family,)) for _ in range(count)]
    return [(task, *family.instance(task.slots, rng)) for task in tasks]


def replies(template: str, values: dict[str, Any], count: int) -> list[Reply]:
    found = [answer(template, values, Random(f"{values} {seed}")) for seed in range(count)]
    return [Reply(one.text, one.finish_reason) for one in found]


def values_of(task: grammar.Task, source: str) -> dict[str, Any]:
    return {"instruction": task.instruction, "input": source}


@pytest.mark.parametrize("family", FIELDED, ids=lambda family: family.name)
def test_an_input_that_a_family_made_has_its_output_again(family: Family) -> None:
    for task, source, output in drawn(family, 25):
        found = grammar.recognise(task.instruction)
        assert found is not None
        assert solve(found, source, Random(0)) == output
        assert solve(found, f"{family.field}: {source}", Random(0)) == output


@pytest.mark.parametrize("family", FIELDED, ids=lambda family: family.name)
def test_a_task_without_its_input_is_not_answered(family: Family) -> None:
    ((task, _, _),) = drawn(family, 1)
    assert solve(task, "", Random(0)) is None
    assert answer("respond", values_of(task, ""), Random(0)).text == REFUSAL


def test_most_answers_are_right_and_some_are_wrong_refused_or_cut_off() -> None:
    right = wrong = refused = cut = n = 0
    for family in SUMS:
        for task, source, output in drawn(family, 3):
            for reply in replies("respond", values_of(task, source), 25):
                n += 1
                wanted, found = final_answer(output), final_answer(reply.text)
                if reply.is_cut_off:
                    cut += 1
                elif reply.text in REFUSALS:
                    refused += 1
                elif wanted and found and is_same_answer(wanted, found):
                    right += 1
                else:
                    wrong += 1
    assert n >= 1000
    assert right > 0.75 * n
    assert 0.05 * n < wrong < 0.2 * n
    assert refused >= 3
    assert cut >= 5


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_step_by_step_answer_has_its_steps_and_an_answer_line(family: Family) -> None:
    config = respond.Config(steps=True)
    ((task, source, _),) = drawn(family, 1)
    found = [respond.read(one, config) for one in replies(
        "respond-steps", values_of(task, source), 12)]  # fmt: skip
    samples = [one for one in found if not isinstance(one, Drop)]
    assert len(samples) >= 8
    assert all(one.reasoning and one.output for one in samples)


def test_the_steps_of_a_sum_are_its_working() -> None:
    (family,) = (one for one in FAMILIES if one.name == "stock")
    ((task, _, output),) = drawn(family, 1)
    assert task.slots[TAIL] == "" or output
    texts = [one.text for one in replies("respond-steps", values_of(task, ""), 30)]
    assert any(" - " in text and "\nAnswer: " in text for text in texts)


def test_a_constraint_on_the_output_is_kept_to() -> None:
    (family,) = (one for one in FAMILIES if one.name == "stock")
    task = next(task for task, _, output in drawn(family, 30) if "The answer is" in output)
    values = values_of(task, "") | {"constraints": "Give the result only."}
    texts = [one.text for one in replies("respond-constraints", values, 20) if not one.is_cut_off]
    assert sum(text.isdigit() for text in texts) >= 17


@pytest.mark.parametrize("template", ["respond", "respond-steps", "respond-constraints"])
def test_a_task_of_others_is_refused(template: str) -> None:
    values = {"instruction": "Prove the Riemann hypothesis.", "input": "", "constraints": ""}
    assert {one.text for one in replies(template, values, 5)} == {REFUSAL}


def test_whole_tasks_are_read_as_they_were_drafted_but_for_the_flaws() -> None:
    config = one_call.Config()
    values = one_call.ask(_pool(), 0, config, Random(1)).values
    entries = [entry for reply in replies("one-call", dict(values), 60)
               for entry in one_call.read(reply, config)]  # fmt: skip
    kept = [entry for entry in entries if not isinstance(entry, Drop)]
    assert len(kept) > 0.9 * len(entries) > 700
    reasons = {entry.reason for entry in entries if isinstance(entry, Drop)}
    assert {"malformed_block", "empty_output", "item_cut_off"} <= reasons
    assert sum(bool(entry["input"]) for entry in kept) > 0.3 * len(kept)
    assert not any("no input" in entry["input"].lower() for entry in kept)
    right = [
        entry
        for entry in kept
        if (task := grammar.recognise(entry["instruction"]))
        and task.family.labels
        and solve(task, entry["input"], Random(0)) == entry["output"]
    ]
    assert len(right) > 50


def test_a_fourth_example_has_input_and_constraints_or_says_what_it_lacks() -> None:
    config = unnatural.Config()
    values = unnatural.ask(_pool(), 0, config, Random(1)).values
    entries = [entry for reply in replies("unnatural", dict(values), 300)
               for entry in unnatural.read(reply, config)]  # fmt: skip
    kept = [entry for entry in entries if not isinstance(entry, Drop)]
    assert len(kept) > 0.9 * len(entries) == 270
    reasons = {entry.reason for entry in entries if isinstance(entry, Drop)}
    assert reasons == {"missing_field", "item_cut_off"}
    assert {"", "Give the result only."} < {entry["output_constraints"] for entry in kept}
    assert any(entry["output_constraints"].startswith("The output is one of") for entry in kept)


def _pool() -> TaskPool:
    return TaskPool(load(str(BUILTIN)).tasks)


def test_other_words_for_a_task_ask_for_the_same() -> None:
    changed, meant = [], []
    for family in FAMILIES:
        for task, _, _ in drawn(family, 4):
            for reply in replies("reformulate", {"instruction": task.instruction}, 3):
                said = reformulate.read(reply)
                changed.append(said != task.instruction)
                found = grammar.recognise(said)
                if found is not None and not reply.is_cut_off:
                    assert found.family is family
                    meant.append(set(found.slots.items()) <= set(task.slots.items()))
    assert sum(changed) > 0.9 * len(changed)
    assert len(meant) > 0.3 * len(changed)
    assert sum(meant) > 0.9 * len(meant)


def test_most_answers_lead_back_to_their_family_and_pairs_that_fit_are_rated_higher() -> None:
    rng = Random(4)
    told, fitting, other = [], [], []
    for family in FAMILIES:
        if family.field or family.labels:
            continue
        for _, _, output in drawn(family, 3):
            told.append(family_of(output, rng) is family)
            (reply,) = replies("backtranslate", {"output": output}, 1)
            instruction = backtranslate.instruction_of(reply)
            for pair, ratings in ((output, fitting), ("Something else.", other)):
                values = {"instruction": instruction, "output": pair}
                (judged,) = replies("rate-pair", values, 1)
                if (rating := backtranslate.rating_of(judged)) is not None:
                    ratings.append(rating)
    assert sum(told) > 0.7 * len(told)
    assert sum(fitting) / len(fitting) > 3.5
    assert sum(other) / len(other) < 1.5
    assert set(fitting) == {1, 2, 3, 4, 5}


def test_a_text_and_a_pair_of_others_are_refused() -> None:
    text = "Once upon a midnight dreary, while I pondered, weak and weary."
    (reply,) = replies("backtranslate", {"output": text}, 1)
    assert reply.text == REFUSAL
    values = {"instruction": "Recite a poem by Poe.", "output": text}
    (reply,) = replies("rate-pair", values, 1)
    assert (reply.text, backtranslate.rating_of(reply)) == (REFUSAL, None)
