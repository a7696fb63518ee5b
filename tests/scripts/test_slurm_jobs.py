"""`slurm.sh` and `slurm-chain.sh` as real processes under a stand-in for slurmctld."""

import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.scripts.exit_codes import CODES, SCRIPTS
from tests.scripts.stand_ins import Job, Site, directives

OUT = ["self-instruct", "--out", "runs/first"]
WAITS = {"drain": 0.2}  # ends with 75 after a signal
DONE = {"exit": 0}


def signals(site: Site) -> list[str]:
    return [event["signal"] for event in site.events("signal")]


def requeues(site: Site) -> int:
    return len([e for e in site.events("scontrol") if e["name"] == "requeue"])


# One job.


def test_the_warning_reaches_synth_and_the_job_is_queued_again_once(site: Site) -> None:
    site.plan(first=[WAITS, DONE])
    job = Job(site, OUT)
    site.wait_for_start(1)
    job.warn()
    assert job.follow() == 0
    assert job.codes == [75, 0]
    assert signals(site) == ["SIGUSR1"]
    assert requeues(site) == 1
    assert [e["SLURM_RESTART_COUNT"] for e in site.events("start")] == [None, "1"]
    assert job.output.count("first: working") == 2, "the second start writes below the first"


def test_the_warning_leaves_time_to_drain() -> None:
    lead_s = int(directives(SCRIPTS / "slurm.sh")["signal"].split("@")[1])
    assert lead_s >= 2 * 22


@pytest.mark.parametrize("code", sorted(CODES))
def test_only_75_queues_the_job_again(site: Site, code: int) -> None:
    site.plan(first=[{"exit": code}, DONE])
    job = Job(site, OUT)
    job.follow()
    assert job.codes[0] == code
    assert requeues(site) == (CODES[code].slurm == "queued again")
    assert len(site.events("start")) == 1 + requeues(site)


def test_a_preempted_job_drains_once_and_leaves_queueing_to_slurm(site: Site) -> None:
    site.plan(first=[WAITS, DONE])
    job = Job(site, OUT)
    site.wait_for_start(1)
    job.terminate()
    assert job.codes == [75], "it ended by itself, before KILL"
    assert signals(site)
    assert set(signals(site)) == {"SIGTERM"}
    assert requeues(site) == 0
    job.restart()
    assert job.follow() == 0


def test_slurm_refusing_to_queue_a_job_again_does_not_change_the_code(site: Site) -> None:
    site.plan(first=[WAITS])
    job = Job(site, OUT)
    site.wait_for_start(1)
    # between the two calls of scontrol the controller requeues the job itself
    wrapper = site.root / "bin" / "scontrol"
    after = 'echo -n PENDING >"$SITE/jobs/77/state"\n'
    body = wrapper.read_text(encoding="utf-8").replace("exec ", "set -e; ")
    wrapper.write_text(body + after, encoding="utf-8")
    job.warn()
    assert job.follow() == 75
    assert requeues(site) == 1
    assert "does not queue the job again" in job.output


def test_a_cancelled_job_stays_cancelled(site: Site) -> None:
    site.plan(first=[WAITS, DONE])
    job = Job(site, OUT)
    site.wait_for_start(1)
    job.terminate()
    assert not job.was_asked_to_requeue
    assert "Slurm ends this job" in job.output


def test_what_does_not_drain_is_killed_and_nothing_is_left(site: Site) -> None:
    site.plan(first=[{"deaf": True}])
    job = Job(site, OUT)
    site.wait_for_start(1)
    job.warn()
    job.terminate()
    assert job.codes == [-signal.SIGKILL]
    assert set(signals(site)) == {"SIGUSR1", "SIGTERM"}
    assert not job.is_anyone_left()
    assert requeues(site) == 0


def test_the_code_survives_a_child_that_ends_in_the_moment_of_the_signal(site: Site) -> None:
    rounds = 12
    site.plan(first=[*[{"drain": 0}] * rounds, DONE])
    job = Job(site, OUT)
    for number in range(rounds):
        site.wait_for_start(number + 1)
        job.warn()
        job.warn()
        assert job.wait() == 75
        assert job.was_asked_to_requeue
        job.restart()
    assert job.wait() == 0
    assert requeues(site) == rounds


def test_a_run_that_the_signal_kills_before_it_can_drain_is_queued_again(site: Site) -> None:
    site.plan(first=[{"frail": True}, DONE])
    job = Job(site, OUT)
    site.wait_for_start(1)
    job.warn()
    assert job.follow() == 0
    assert job.codes == [75, 0]


def test_a_run_that_is_killed_without_a_signal_from_slurm_is_not_queued_again(site: Site) -> None:
    site.plan(first=[{"killed": True}, DONE])
    assert Job(site, OUT).follow() == 128 + signal.SIGKILL
    assert requeues(site) == 0


def test_a_teacher_that_stays_away_is_given_up_after_some_tries(site: Site) -> None:
    site.plan(first=[{"exit": 75}] * 9)
    job = Job(site, OUT, SYNTH_MAX_TRIES="3")
    assert job.follow() == 75
    assert len(site.events("start")) == 3
    assert requeues(site) == 2
    assert not list(site.root.glob("*.tries"))


def test_tries_are_counted_from_the_last_time_that_slurm_ended_the_run(site: Site) -> None:
    site.plan(first=[{"exit": 75}, {"exit": 75}, WAITS, {"exit": 75}, {"exit": 75}, DONE])
    job = Job(site, OUT, SYNTH_MAX_TRIES="3")
    for number in (1, 2, 3):
        site.wait_for_start(number)
        if number == 3:
            job.warn()
        job.wait()
        job.restart()
    assert job.follow() == 0
    assert len(site.events("start")) == 6


def test_arguments_and_the_environment_file_reach_synth(site: Site) -> None:
    words = ["my recipe.yaml", "--set", "a.b=$HOME 'x' *", "--out", "runs/first"]
    (site.root / "synth.env").write_text("OPENAI_API_KEY=canary\n", encoding="utf-8")
    site.plan(first=[DONE])
    job = Job(site, words, SYNTH_ENV="synth.env")
    assert job.follow() == 0
    [start] = site.events("start")
    assert start["arguments"] == ["run", *words]
    assert start["OPENAI_API_KEY"] == "canary"
    assert "canary" not in job.output


# The chain.


def submit(site: Site, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / "slurm-chain.sh", *arguments],
        env=site.environment | environment,
        cwd=site.root,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def work_off(site: Site) -> dict[str, str]:
    """Run what was submitted by sbatch's rules; returns each job's last state by its name."""
    names: dict[str, str] = {}
    left = sorted((site.root / "jobs").iterdir(), key=lambda folder: int(folder.name))
    while left:
        folder = left.pop(0)
        call = json.loads((folder / "call.json").read_text(encoding="utf-8"))
        options = dict(option[2:].partition("=")[::2] for option in call["options"])
        name = options["job-name"]
        names[name] = "PENDING"
        if after := options.get("dependency"):
            kind, _, number = after.partition(":")
            assert kind == "afterok"
            state = (site.root / "jobs" / number / "state").read_text(encoding="utf-8")
            if state != "COMPLETED":
                assert state in ("FAILED", "CANCELLED"), "the one before has not ended"
                if options.get("kill-on-invalid-dep") == "yes":
                    names[name] = "CANCELLED"
                    (folder / "state").write_text("CANCELLED", encoding="utf-8")
                continue
        code = 75
        while code == 75:
            (folder / "requeue").unlink(missing_ok=True)
            (folder / "state").write_text("RUNNING", encoding="utf-8")
            code = subprocess.run(
                ["bash", call["script"], *call["arguments"]],
                env=site.environment | {"SLURM_JOB_ID": folder.name},
                cwd=site.root,
                stderr=subprocess.DEVNULL,
                timeout=20,
                check=False,
            ).returncode
            if not (folder / "requeue").exists():
                break
        names[name] = "COMPLETED" if code == 0 else "FAILED"
        (folder / "state").write_text(names[name], encoding="utf-8")
    return names


STAGES = ["generate", "curate", "sft", "evaluate"]


def test_each_stage_waits_for_the_one_before_it(site: Site) -> None:
    done = submit(site, "runs/may", "self-instruct", "--teacher", "offline")
    assert done.returncode == 0, done.stderr
    jobs = site.events("sbatch")
    numbers = [job["name"] for job in jobs]
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        [number, stage] for number, stage in zip(numbers, STAGES, strict=True)
    ]
    for position, job in enumerate(jobs):
        after = [o for o in job["options"] if o.startswith("--dependency")]
        assert after == ([f"--dependency=afterok:{numbers[position - 1]}"] if position else [])
        assert ("--kill-on-invalid-dep=yes" in job["options"]) == bool(position)
        has_gpu = any(option.startswith("--gres=gpu") for option in job["options"])
        assert has_gpu == (position >= 2)
    first = "self-instruct --teacher offline --out runs/may/generate"
    assert shlex.join(jobs[0]["arguments"]) == first
    for before, stage, job in zip(STAGES, STAGES[1:], jobs[1:], strict=False):
        expected = f"{stage} --input runs/may/{before} --out runs/may/{stage}"
        assert shlex.join(job["arguments"]) == expected


def test_a_chain_runs_through_and_waits_for_a_job_that_is_queued_again(site: Site) -> None:
    submit(site, "runs/may", "self-instruct")
    site.plan(
        generate=[{"exit": 75}, DONE], curate=[DONE], sft=[{"exit": 75}, DONE], evaluate=[DONE]
    )
    assert set(work_off(site).values()) == {"COMPLETED"}
    ends = [(event["name"], event["code"]) for event in site.events("end")]
    assert ends == [
        ("generate", 75),
        ("generate", 0),
        ("curate", 0),
        ("sft", 75),
        ("sft", 0),
        ("evaluate", 0),
    ]


@pytest.mark.parametrize("code", [code for code in sorted(CODES) if code not in (0, 75)])
def test_nothing_starts_after_a_stage_that_failed(site: Site, code: int) -> None:
    submit(site, "runs/may", "self-instruct")
    site.plan(generate=[DONE], curate=[{"exit": code}], sft=[DONE], evaluate=[DONE])
    assert list(work_off(site).values()) == ["COMPLETED", "FAILED", "CANCELLED", "CANCELLED"]
    assert [event["name"] for event in site.events("start")] == ["generate", "curate"]


def test_half_a_chain_is_taken_back(site: Site) -> None:
    done = submit(site, "runs/may", "self-instruct", QUEUE_LIMIT="2")
    assert done.returncode == 1
    states = [path.read_text(encoding="utf-8") for path in site.root.glob("jobs/*/state")]
    assert states == ["CANCELLED", "CANCELLED"]
    assert "taken back" in done.stderr


def test_a_chain_without_a_recipe_submits_nothing_and_says_how_to_call_it(site: Site) -> None:
    done = submit(site, "runs/may")
    assert done.returncode == 2
    assert "slurm-chain.sh RUNS RECIPE" in done.stderr
    assert not site.events()


def test_scripts_are_marked_executable() -> None:
    for script in SCRIPTS.glob("*.sh"):
        assert Path(script).stat().st_mode & 0o111, script.name
