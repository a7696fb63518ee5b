"""The Slurm job and the chain with the real `synth`: ended by signals, queued again, paid once."""

import json
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline import recipe
from tests.run import books
from tests.scripts.exit_codes import SCRIPTS
from tests.scripts.stand_ins import Job, Site
from tests.teacher_server.process import Server, running_server

ROOT = SCRIPTS.parent
FEW = ["--set", "bootstrap.target=15", "--set", "bootstrap.window=4", "--set", "shard_rows=10"]


def put_the_real_synth_there(site: Site) -> None:
    program = site.root / "bin" / "synth"
    line = f'exec "{sys.executable}" -c "from pipeline.cli import main; main()" "$@"\n'
    program.write_text(f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\n{line}', encoding="utf-8")


def wait_for_replies(server: Server, n: int) -> None:
    end = time.monotonic() + 120
    while server.counts().get("replies", 0) < n:
        assert time.monotonic() < end, f"{n} replies did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("end", ["warned", "preempted"])
def test_a_run_that_slurm_ends_comes_back_and_asks_nothing_twice(
    site: Site, tmp_path: Path, end: str
) -> None:
    put_the_real_synth_there(site)
    slow = {"latency": {"median_s": 0.2, "sigma": 0.2}, "content": {"items": 3}}
    with running_server(tmp_path / "server.jsonl", slow) as server:
        teacher = f"openai:test-model@{server.url}"
        out = site.root / "runs" / "first"
        job = Job(site, ["self-instruct", "--teacher", teacher, *FEW, "--out", str(out)])
        wait_for_replies(server, 8)
        if end == "warned":
            job.warn()
            assert job.process.wait(60) == 75, job.output
            assert job.was_asked_to_requeue
        else:
            job.terminate(kill_wait_s=30)  # what slurm.conf has
            assert job.codes == [75], job.output
            assert not job.was_asked_to_requeue, "Slurm queues a preempted job again itself"
        n_replies = len(books.replied(out))
        assert json.loads((out / "run.json").read_bytes())["status"] == "stopped"
        job.restart()
        assert job.follow() == 0, job.output
        sent = [e["hash"] for e in server.history("request") if e["kind"] == "chat"]
    assert n_replies >= 8
    assert len(sent) == len(set(sent)), "asked twice"
    books.check(out)


def stages_of_the_chains() -> set[str]:
    """Recipes and stages that the chains run after the first job."""
    lines = (SCRIPTS / "slurm-chain.sh").read_text(encoding="utf-8").splitlines()
    slurm = {line.split()[3] for line in lines if line.startswith("stage ")} - {'"$recipe"'}
    with (SCRIPTS / "k8s-chain.yaml").open(encoding="utf-8") as file:
        items = [o for document in yaml.safe_load_all(file) for o in document["items"]]
    commands = [
        o["spec"]["template"]["spec"]["containers"][0]["command"]
        for o in items
        if o["kind"] == "Job" and o["metadata"]["name"] != "synth-chain"
    ]
    assert slurm == {command[2] for command in commands}
    return slurm


@pytest.mark.parametrize("name", sorted(stages_of_the_chains()))
def test_the_page_says_which_part_of_the_chain_does_not_work_yet(site: Site, name: str) -> None:
    page = (SCRIPTS / "SCHEDULING.md").read_text(encoding="utf-8")
    is_said = f"There is no recipe `{name}` yet" in page
    assert is_said is not (name in recipe.builtin_names())
    if is_said:
        put_the_real_synth_there(site)
        assert Job(site, [name, "--input", "runs/curate", "--out", "runs/new"]).follow() == 2
        assert not (site.root / "runs" / "new").exists()
