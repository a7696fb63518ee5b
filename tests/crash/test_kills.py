"""Kills at moments drawn from a seed, and nothing is lost or bought again."""

import pytest

from tests.crash import campaign, checker, hosts
from tests.crash.history import History
from tests.crash.workload import Workload
from tests.teacher_server.process import running_server

SEED, KILLS = "ci", 20
LEASE_S = 2.0  # instead of a minute


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[History]:
    """A run that nothing disturbed, and those that were killed."""
    folder = tmp_path_factory.mktemp("kills")
    workload = Workload(lease_s=LEASE_S)
    with running_server(folder / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, folder / "clean")
        found = campaign.killed_often(workload, server, folder, seed=SEED, kills=KILLS, clean=clean)
    return [clean, *found]


def test_nothing_is_violated_by_twenty_kills(histories: list[History]) -> None:
    for history in histories:
        found = checker.violations(history)
        assert not found, "\n".join(
            [*found[:20], f"seed {history.seed}: {campaign.reproduce(history)}"]
        )


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
