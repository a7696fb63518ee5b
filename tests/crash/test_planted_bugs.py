"""The harness's own test: ten bugs, each planted into a copy of the tree, and all are found.

`pytest` plants the quick ones and those that only one check finds; `SYNTH_SOAK=1 pytest` all.
"""

import os
from pathlib import Path

import pytest

from tests.crash import planted, syscalls
from tests.crash.planted import BUGS, Bug
from tests.crash.workload import ROOT

QUICK = {"rename before fsync", "no intent record", "budget checked after", "temp file in data dir"}
IS_SOAK = bool(os.environ.get("SYNTH_SOAK"))
TRACED = (planted.write_order, planted.journal_order)


def may_run(scenario: planted.Scenario) -> None:
    """Skip, with the reason, what this machine cannot trace."""
    if scenario in TRACED and (reason := syscalls.missing()) is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, tmp_path: Path) -> None:
    if bug.name not in QUICK and not IS_SOAK:
        pytest.skip("SYNTH_SOAK is not set: only the quick ones are planted")
    may_run(bug.scenario)
    root = planted.plant(bug, tmp_path)
    assert bug.scenario(root, tmp_path), f"{bug.name} was not found"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_patch_still_fits_the_tree(bug: Bug, tmp_path: Path) -> None:
    for name, text, _ in bug.patches:
        assert (ROOT / name).read_text(encoding="utf-8").count(text) == 1, f"{name}: {text!r}"


@pytest.mark.parametrize(
    "scenario",
    sorted({bug.scenario for bug in BUGS}, key=lambda found: found.__name__),
    ids=lambda scenario: scenario.__name__,
)
def test_where_no_bug_is_planted_none_is_found(scenario: planted.Scenario, tmp_path: Path) -> None:
    if not IS_SOAK and scenario not in {bug.scenario for bug in BUGS if bug.name in QUICK}:
        pytest.skip("SYNTH_SOAK is not set")
    may_run(scenario)
    assert not scenario(ROOT, tmp_path)
