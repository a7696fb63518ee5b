"""The batch jobs in `scripts/` are well formed and do with each exit code what the table says."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import recipe
from pipeline.errors import SynthError
from pipeline.teacher.settings import TeacherSettings
from tests.scripts.exit_codes import CODES, SCRIPTS
from tests.scripts.stand_ins import directives

DRAIN_S = TeacherSettings().grace_s + 2  # from TERM to the end of a run
SHELL_SCRIPTS = sorted(SCRIPTS.glob("*.sh"))


def errors(error: type[SynthError] = SynthError) -> Iterator[type[SynthError]]:
    yield error
    for child in error.__subclasses__():
        yield from errors(child)


def documents(name: str) -> list[dict[str, Any]]:
    """All objects of a file, lists taken apart, as the API server gets them."""
    with (SCRIPTS / name).open(encoding="utf-8") as file:
        found = list(yaml.safe_load_all(file))
    return [o for document in found for o in document.get("items", [document])]


def jobs(name: str) -> dict[str, dict[str, Any]]:
    return {o["metadata"]["name"]: o for o in documents(name) if o["kind"] == "Job"}


RUNS = {
    name: job for file in ("k8s-job.yaml", "k8s-chain.yaml") for name, job in jobs(file).items()
}
RUNS = {name: job for name, job in RUNS.items() if name != "synth-chain"}
PODS = jobs("k8s-job.yaml") | jobs("k8s-chain.yaml")


def test_the_table_has_every_code_that_an_error_can_end_with() -> None:
    assert {error.exit_code for error in errors()} | {0} == set(CODES)


# Shell scripts.


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_parse_and_stop_at_errors(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True, timeout=20)
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_clean(script: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        [shellcheck, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""


def test_the_slurm_job_asks_for_what_a_run_needs_to_come_back() -> None:
    asked = directives(SCRIPTS / "slurm.sh")
    assert "requeue" in asked
    assert asked["open-mode"] == "append"
    to, lead_s = asked["signal"].split("@")
    assert to == "B:USR1", "a run has no job step: without B: nothing gets the signal"
    assert int(lead_s) > DRAIN_S
    hours, minutes, seconds = map(int, asked["time"].split(":"))
    assert hours * 3600 + minutes * 60 + seconds > 10 * int(lead_s)


# Kubernetes.


def action(policy: dict[str, Any], container: str, code: int, *, is_disrupted: bool) -> str:
    """What the Job controller does with a failed pod: the first rule that matches, else Count."""
    for rule in policy["rules"]:
        if wanted := rule.get("onExitCodes"):
            if wanted.get("containerName", container) != container:
                continue
            if (code in wanted["values"]) == (wanted["operator"] == "In"):
                return str(rule["action"])
        elif (
            is_disrupted
            and {"type": "DisruptionTarget", "status": "True"} in rule["onPodConditions"]
        ):
            return str(rule["action"])
    return "Count"


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("code", sorted(set(CODES) - {0}))
def test_each_code_leads_to_the_action_of_the_table(name: str, code: int) -> None:
    policy = RUNS[name]["spec"]["podFailurePolicy"]
    wanted = CODES[code].kubernetes
    assert action(policy, "synth", code, is_disrupted=False) == wanted
    disrupted = "FailJob" if wanted == "FailJob" else "Ignore"
    assert action(policy, "synth", code, is_disrupted=True) == disrupted


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_pod_counts_unless_kubernetes_took_it_away(name: str) -> None:
    policy = RUNS[name]["spec"]["podFailurePolicy"]
    assert action(policy, "synth", 137, is_disrupted=False) == "Count"
    assert action(policy, "synth", 137, is_disrupted=True) == "Ignore"


@pytest.mark.parametrize("name", PODS)
def test_jobs_keep_the_rules_of_the_api_server(name: str) -> None:
    spec = PODS[name]["spec"]
    pod = spec["template"]["spec"]
    assert PODS[name]["apiVersion"] == "batch/v1"
    assert pod["restartPolicy"] == "Never", "podFailurePolicy is refused otherwise"
    assert spec["podReplacementPolicy"] == "Failed"
    containers = {container["name"] for container in pod["containers"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
        if codes := rule.get("onExitCodes"):
            assert codes["containerName"] in containers
            assert codes["values"] == sorted(set(codes["values"]) - {0})
    mounts = {m["name"] for container in pod["containers"] for m in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", RUNS)
def test_a_pod_has_time_to_drain_and_a_run_may_come_back(name: str) -> None:
    spec = RUNS[name]["spec"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > DRAIN_S
    assert spec["backoffLimit"] >= 6
    assert "activeDeadlineSeconds" not in spec
    [container] = spec["template"]["spec"]["containers"]
    assert container["command"][:2] == ["synth", "run"], "a shell in between keeps TERM to itself"


@pytest.mark.parametrize("name", PODS)
def test_pods_run_without_rights(name: str) -> None:
    pod = PODS[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    written = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    environment = {e["name"]: e.get("value", "") for e in container["env"]}
    assert environment["HOME"] == "/tmp"
    assert "/tmp" in written
    assert all(
        Path(p).parent.as_posix() in ("/", *written) for p in environment.values() if p[:1] == "/"
    )
    # only what talks to the API server has a token for it
    assert pod.get("automountServiceAccountToken", True) == (name == "synth-chain")


def test_the_key_comes_from_a_secret_and_stands_nowhere() -> None:
    for name, job in RUNS.items():
        [container] = job["spec"]["template"]["spec"]["containers"]
        [key] = [e for e in container["env"] if "KEY" in e["name"]]
        reference = {"name": "synth-teacher", "key": "OPENAI_API_KEY"}
        assert key["valueFrom"] == {"secretKeyRef": reference}, name
        assert "value" not in key
    kinds = {o["kind"] for file in ("k8s-job.yaml", "k8s-chain.yaml") for o in documents(file)}
    assert "Secret" not in kinds, "applying the file would overwrite the real one"


def test_the_recipe_in_the_config_map_is_valid_and_is_the_one_that_runs() -> None:
    objects = {o["kind"]: o for o in documents("k8s-job.yaml")}
    config = objects["ConfigMap"]
    found = recipe.parse(config["data"]["recipe.yaml"], where="k8s-job.yaml")
    assert found.settings.teacher.key == "env:OPENAI_API_KEY"
    pod = objects["Job"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["recipe"]["configMap"]["name"] == config["metadata"]["name"]
    claim = objects["PersistentVolumeClaim"]["metadata"]["name"]
    [container] = pod["containers"]
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    _, _, path, _, out = container["command"]
    assert volumes[mounts[Path(path).parent.as_posix()]]["name"] == "recipe"
    runs = volumes[mounts[Path(out).parent.as_posix()]]
    assert runs["persistentVolumeClaim"]["claimName"] == claim


# The page.


def test_the_page_says_of_each_code_what_the_schedulers_do() -> None:
    page = (SCRIPTS / "SCHEDULING.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE
    )
    said = {int(code): (slurm, k8s, cron) for code, _, slurm, k8s, cron in rows}
    assert said == {
        code: (means.slurm, means.kubernetes, means.cron) for code, means in CODES.items()
    }


def test_the_page_names_every_file() -> None:
    page = (SCRIPTS / "SCHEDULING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:slurm|k8s|cron)[a-z-]*\.[a-z]+)`", page))
    there = {path.name for path in SCRIPTS.iterdir()}
    batch = {name for name in there if name.startswith(("slurm", "k8s", "cron"))}
    assert named == batch
