"""What `scripts/k8s-chain.yaml` does: its shell runs against a stand-in for kubectl."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from tests.scripts.exit_codes import SCRIPTS
from tests.scripts.stand_ins import Site

OBJECTS: list[dict[str, Any]] = yaml.safe_load(
    (SCRIPTS / "k8s-chain.yaml").read_text(encoding="utf-8")
)["items"]
NAMED = {(o["kind"], o["metadata"]["name"]): o for o in OBJECTS}
STAGES = ["synth", "synth-curate", "synth-sft", "synth-evaluate"]
COMPLETE = ["SuccessCriteriaMet", "Complete"]
FAILED = ["FailureTarget", "Failed"]


def cluster(site: Site, **ends: list[str]) -> None:
    """The Jobs as applied: the first one works, the others are as suspended as the file says."""
    jobs = {}
    for name in STAGES:
        is_suspended = name != "synth" and NAMED["Job", name]["spec"]["suspend"]
        conditions = ["Suspended"] if is_suspended else []
        jobs[name] = {"conditions": conditions, "ends": ends.get(name, COMPLETE)}
    (site.root / "cluster.json").write_text(json.dumps(jobs), encoding="utf-8")
    [rule] = NAMED["Role", "synth-chain"]["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["batch"], ["jobs"])
    (site.root / "role.json").write_text(json.dumps(rule), encoding="utf-8")


def change(site: Site, name: str, conditions: list[str]) -> None:
    path = site.root / "cluster.json"
    jobs = json.loads(path.read_text(encoding="utf-8"))
    jobs[name]["conditions"] = conditions
    path.write_text(json.dumps(jobs), encoding="utf-8")


def chain(site: Site) -> subprocess.CompletedProcess[str]:
    """One pod of the Job synth-chain."""
    [container] = NAMED["Job", "synth-chain"]["spec"]["template"]["spec"]["containers"]
    return subprocess.run(
        container["command"],
        env=site.environment | {"PAUSE_S": "0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def woken(site: Site) -> list[str]:
    return [event["name"] for event in site.events("patch")]


def test_each_stage_is_woken_once_the_one_before_is_complete(site: Site) -> None:
    cluster(site)
    done = chain(site)
    assert done.returncode == 0, done.stderr
    assert woken(site) == STAGES[1:]
    seen = site.events("get", "patch")
    for event in seen:
        if event["event"] == "patch":
            before = STAGES[STAGES.index(event["name"]) - 1]
            earlier = [e for e in seen[: seen.index(event)] if e["name"] == before]
            assert earlier[-1]["conditions"] == COMPLETE


@pytest.mark.parametrize("position", range(4))
def test_a_failed_stage_ends_the_chain_for_good(site: Site, position: int) -> None:
    cluster(site, **{STAGES[position]: FAILED})
    done = chain(site)
    policy = NAMED["Job", "synth-chain"]["spec"]["podFailurePolicy"]["rules"]
    [fail] = [rule["onExitCodes"]["values"] for rule in policy if rule["action"] == "FailJob"]
    assert [done.returncode] == fail
    assert woken(site) == STAGES[1 : position + 1]


def test_an_api_server_that_does_not_answer_is_asked_again_by_the_next_pod(site: Site) -> None:
    cluster(site)
    change(site, "synth", ["Unanswered"])
    assert chain(site).returncode == 1, "counted by backoffLimit, not final"
    assert chain(site).returncode == 0


def test_a_chain_that_was_killed_goes_on_where_it_was(site: Site) -> None:
    cluster(site)
    for name in STAGES[:2]:
        change(site, name, COMPLETE)
    assert chain(site).returncode == 0
    assert woken(site) == STAGES[2:]


def test_stages_that_wait_hold_nothing(site: Site) -> None:
    for name in STAGES[1:]:
        assert NAMED["Job", name]["spec"]["suspend"] is True
    gpu = {
        name: NAMED["Job", name]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        for name in STAGES[1:]
    }
    assert [name for name in gpu if "nvidia.com/gpu" in gpu[name]] == STAGES[2:]


def test_each_stage_reads_what_the_one_before_wrote() -> None:
    with (SCRIPTS / "k8s-job.yaml").open(encoding="utf-8") as file:
        [first] = [o for o in yaml.safe_load_all(file) if o["kind"] == "Job"]
    outs = [first["spec"]["template"]["spec"]["containers"][0]["command"][-1]]
    for name in STAGES[1:]:
        [container] = NAMED["Job", name]["spec"]["template"]["spec"]["containers"]
        command = container["command"]
        assert command[command.index("--input") + 1] == outs[-1]
        outs.append(command[command.index("--out") + 1])
    assert len(set(outs)) == 4
