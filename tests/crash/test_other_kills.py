"""Kills while a budget ends, of conversations with the teacher, and of a run that asks nobody."""

from pathlib import Path

import pytest

from tests.crash import campaign, checker
from tests.crash.workload import Workload, curating, evolving
from tests.soaked import REASON, SOAK
from tests.teacher_server.process import running_server


def test_a_run_that_is_killed_while_its_budget_ends_never_passes_it(tmp_path: Path) -> None:
    workload = Workload(target=40, concurrency=8, median_s=0.1)
    with running_server(tmp_path / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, tmp_path / "clean")
        history = campaign.killed_under_caps(
            workload, server, tmp_path / "run", "caps", (30_000,), 4, clean
        )
    assert not checker.violations(history)
    assert len(history.caps) == 1
    assert len(history.deaths) >= 2
    assert any(history.in_flight(death) for death in history.deaths)


def test_conversations_that_are_killed_go_on_where_they_were(tmp_path: Path) -> None:
    workload = evolving(tmp_path, rows=30, concurrency=8, median_s=0.1)
    with running_server(tmp_path / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, tmp_path / "clean")
        histories = campaign.killed_often(
            workload, server, tmp_path, seed="evolve", kills=8, clean=clean
        )
    for history in [clean, *histories]:
        assert not checker.violations(history)
    deaths = [(history, death) for history in histories for death in history.deaths]
    assert len(deaths) == 8
    assert sum(history.in_flight(death) > 0 for history, death in deaths) >= 5


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_a_run_without_a_teacher_that_is_killed_ends_with_the_same_files(tmp_path: Path) -> None:
    workload = curating(tmp_path)
    with running_server(tmp_path / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, tmp_path / "clean")
        histories = campaign.killed_often(
            workload, server, tmp_path, seed="curate", kills=10, clean=clean
        )
    for history in histories:
        assert not checker.violations(history)
        assert {event["event"] for event in history.events} <= {"plan"}, "somebody was asked"
    deaths = [death for history in histories for death in history.deaths]
    assert len(deaths) == 10
    begun = {name.split("/")[1] for death in deaths for name in death.files}
    assert len(begun) >= 3, f"kills left files of {begun} alone"
