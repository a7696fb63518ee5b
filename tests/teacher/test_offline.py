"""The offline teacher: same seed same text, its own tasks found again, right answers, known flaws."""

import os
import subprocess
import sys
from random import Random

import pytest

from pipeline.teacher.offline import answer, grammar
from pipeline.teacher.offline.families import FAMILIES
from pipeline.teacher.offline.family import Family

VALUES = {"tasks": ["Name three rivers of Europe.", "Add 17 and 25."], "first": 9, "last": 15}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_draft_is_recognised_with_its_family_and_slots_however_it_is_spelled(
    family: Family,
) -> None:
    rng = Random(family.name)
    for _ in range(200):
        task = grammar.draft(rng, (family,))
        found = grammar.recognise(task.instruction.capitalize().replace(" ", "  "))
        assert found is not None, task.instruction
        assert (found.family.name, found.slots) == (family.name, task.slots), task.instruction


def test_the_same_seed_gives_the_same_reply_in_any_process() -> None:
    code = (
        "from random import Random\n"
        "from pipeline.teacher.offline import answer\n"
        f"print([answer('bootstrap', {VALUES!r}, Random(n)).text for n in range(20)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_template_that_is_not_answered_is_named_with_those_that_are() -> None:
    with pytest.raises(LookupError, match="'rate'.*bootstrap, classify"):
        answer("rate", {}, Random(0))
