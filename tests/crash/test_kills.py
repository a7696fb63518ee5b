"""Kills at moments drawn from a seed, and nothing is lost or bought again."""

from pathlib import Path

import pytest

from tests.crash import campaign, checker, hosts
from tests.crash.history import History
from tests.crash.workload import Workload, curating
from tests.teacher_server.process import running_server

SEED, KILLS, KILLS_PER_RUN = "ci", 20, 20
LEASE_S = 2.0  # instead of a minute


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[History]:
    """A run that nothing disturbed, and those that were killed."""
    folder = tmp_path_factory.mktemp("kills")
    workload = Workload(lease_s=LEASE_S)
    with running_server(folder / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, folder / "clean")
        found = campaign.killed_often(
            workload,
            server,
            folder,
            seed=SEED,
            kills=KILLS,
            kills_per_run=KILLS_PER_RUN,
            clean=clean,
        )
    return [clean, *found]


def no_violation(history: History) -> None:
    found = checker.violations(history)
    assert not found, "\n".join(
        [*found[:20], f"seed {history.seed}: {campaign.reproduce(history)}"]
    )


def test_nothing_is_violated_by_twenty_kills(histories: list[History]) -> None:
    for history in histories:
        no_violation(history)


def test_the_kills_landed_while_requests_were_in_flight(histories: list[History]) -> None:
    deaths = [(history, death) for history in histories for death in history.deaths]
    n_in_flight = sum(history.in_flight(death) > 0 for history, death in deaths)
    assert len(deaths) == KILLS
    assert n_in_flight >= 0.7 * KILLS, f"the run does not count: {n_in_flight} were in flight"
    phases = {death.kill.phase for _, death in deaths}
    assert phases >= {"start-up", "replay", "steady", "seal"}  # an export is over in no time
    assert {death.kill.whom for _, death in deaths} == {"group", "parent"}


@pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))
def test_half_of_the_starts_came_from_other_hosts(histories: list[History]) -> None:
    deaths = [death for history in histories for death in history.deaths]
    elsewhere = [death for death in deaths if death.kill.host]
    assert len(elsewhere) >= KILLS // 3
    holders = {death.holder for death in deaths if death.holder}
    assert len(holders & set(hosts.NAMES)) >= 2, f"the lease was held on {holders} alone"
    assert hosts.name(hosts.HERE) in holders


def test_a_run_that_is_killed_while_its_budget_ends_never_passes_it(tmp_path: Path) -> None:
    workload = Workload(target=40, concurrency=8, median_s=0.1)
    with running_server(tmp_path / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, tmp_path / "clean")
        history = campaign.killed_under_caps(
            workload, server, tmp_path / "run", "caps", (30_000,), 4, clean
        )
    no_violation(history)
    assert len(history.caps) == 1
    assert len(history.deaths) >= 2
    assert any(history.in_flight(death) for death in history.deaths)


def test_a_run_without_a_teacher_that_is_killed_ends_with_the_same_files(tmp_path: Path) -> None:
    workload = curating(tmp_path)
    with running_server(tmp_path / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, tmp_path / "clean")
        history = campaign.killed(workload, server, tmp_path / "run", "curate", 10, clean)
    no_violation(history)
    assert {event["event"] for event in history.events} == {"plan"}, "somebody was asked"
    assert len(history.deaths) >= 7
    begun = {name.split("/")[1] for death in history.deaths for name in death.files}
    assert len(begun) >= 3, f"kills left files of {begun} alone"
