"""Whole runs of evol-instruct: what comes out, and that nothing on the way changes it."""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.errors import BudgetError, InputError, RecipeError
from pipeline.inspect import open_run
from pipeline.run.estimate import estimate
from pipeline.run.plan import Estimate
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from pipeline.tree import tree_of
from pipeline.verify import recount
from tests.conftest import ignore, run_and_recount
from tests.run import books, processes
from tests.teacher_server.process import Server

RULES = {
    "no_information_gain",
    "refusal",
    "only_stop_words",
    "prompt_leak",
    "copied_parent",
    "too_long",
    "cut_off",
}
FEW = ("import.rows=30", "evolve.rounds=2", "shard_rows=40")
JITTER = {"median_s": 0.01, "sigma": 1.0, "straggler_rate": 0.05}


def _evolve(source: Path, out: Path, *settings: str, **options: str) -> Path:
    run_and_recount(out, *settings, recipe="evol-instruct", input=str(source), **options)
    return out


@pytest.fixture(scope="module")
def self_instruct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of self-instruct with enough rows for every rule to be met."""
    out = tmp_path_factory.mktemp("source") / "run"
    run_and_recount(out, "bootstrap.target=120")
    return out


@pytest.fixture(scope="module")
def evolved(self_instruct: Path) -> Path:
    """Four rounds over it, with the recipe as it is."""
    return _evolve(self_instruct, self_instruct.parent / "evolved")


@pytest.fixture(scope="module")
def few(self_instruct: Path) -> Path:
    """A short run that nothing disturbed."""
    return _evolve(self_instruct, self_instruct.parent / "few", *FEW)


def _all_rows(run: Path) -> list[dict[str, object]]:
    return books.rows(run, "evolve") + books.rows(run, "evolve", "dropped")


def test_four_rounds_keep_over_five_hundred_rows_and_every_rule_fires(evolved: Path) -> None:
    run = open_run(evolved)
    assert run.manifest.kept >= 500
    assert set(run.stage("evolve").dropped_by_reason) >= RULES
    rounds = Counter(row["round"] for row in books.rows(evolved, "evolve"))
    assert set(rounds) == {0, 1, 2, 3, 4}
    assert recount(evolved).findings == []


def test_every_row_leads_back_to_its_root(evolved: Path, self_instruct: Path) -> None:
    received = {row["row_id"]: row for row in books.rows(evolved, "import")}
    by_id = {row["row_id"]: row for row in _all_rows(evolved)}
    n_walked = late = 0
    for row in by_id.values():
        step, at = 0, row
        while at["row_id"] not in received:
            parent = by_id[str(at["parent_id"])]
            assert parent.get("drop_reason") is None, "an eliminated row has no children"
            assert at["round"] > parent["round"]  # type: ignore[operator]
            at, step = parent, step + 1
        n_walked += step > 0
        late += step < row["round"]  # type: ignore[operator]
        assert row["root_id"] == received[str(at["row_id"])]["root_id"]
    assert n_walked > 500
    assert late > 20, "an eliminated child leaves its parent to a later round"
    assert {row["row_id"] for row in _all_rows(evolved) if row["round"] == 0} == set(received)


def test_a_row_names_the_rewritings_of_its_lineage_and_its_own_requests(evolved: Path) -> None:
    rows = {row["row_id"]: row for row in books.rows(evolved, "evolve")}
    depth: dict[str, int] = {}
    asked = {record["key"].hex() for record in books.records(evolved)}
    for row in rows.values():
        own = [one for one in row["requests"] if one["stage"] == "evolve"]
        if row["round"] == 0:
            assert own == []
            depth[row["row_id"]] = 0
            continue
        above = depth[row["parent_id"]]  # it was made before
        depth[row["row_id"]] = above + 1
        names = [one["template"].partition("@")[0] for one in own]
        assert names[-3:] == ["compare", "compare", "respond"]
        assert len(names) == above + 4
        assert names[-4] == f"evolve-{row['operation']}"
        assert {one["key"] for one in own} <= asked
        theirs = [one for one in rows[row["parent_id"]]["requests"] if one["stage"] == "evolve"]
        assert own[:above] == theirs[:above]


def test_length_constraints_and_steps_grow_each_round_and_breadth_brings_domains(
    evolved: Path,
) -> None:
    found = open_run(evolved).stage("evolve").measures["by_round"]
    for name in ("words", "constraints", "steps", "domains_so_far"):
        values = [one[name] for one in found]
        assert values == sorted(set(values)), name
    broad = [row for row in books.rows(evolved, "evolve") if row["operation"] == "breadth"]
    assert len(broad) > 50


def test_status_why_and_show_tell_of_the_evolution(evolved: Path) -> None:
    said = CliRunner().invoke(app, ["status", str(evolved)]).stdout
    assert "evolve  round  rows  words  constraints  steps  domains so far" in said
    rows = [row for row in books.rows(evolved, "evolve") if row["round"] == 3]
    row = next(row for row in rows if row["parent_id"] != row["row_id"])
    tree = tree_of(open_run(evolved), row["row_id"])
    assert tree is not None
    slot = row["row_id"].rpartition("-")[0]
    whole = [one for one in _all_rows(evolved) if str(one["row_id"]).startswith(f"{slot}-")]
    assert {one.row_id for one in tree.walk()} == {str(o["row_id"]) for o in whole} | {tree.row_id}
    why = CliRunner().invoke(app, ["why", str(evolved), row["row_id"]]).stdout
    shown = CliRunner().invoke(app, ["show", str(evolved), "evolve", "--tree", tree.row_id]).stdout
    for one in whole:
        assert str(one["row_id"]) in why
        assert str(one["row_id"]) in shown
        if one.get("drop_reason"):
            assert f"dropped by evolve: {one['drop_reason']}" in shown
    assert f"{row['row_id']} round 3, {row['operation']} <- this row" in why
    as_json = CliRunner().invoke(
        app, ["show", str(evolved), "evolve", "--tree", row["row_id"], "--json"]
    )
    assert json.loads(as_json.stdout)["row_id"] == tree.row_id
    for stage in ([], ["evolve"], ["dedup"], ["import"]):
        none = CliRunner().invoke(app, ["show", str(evolved), *stage, "--tree", "import-9-9"])
        assert isinstance(none.exception, InputError)
    unnamed = CliRunner().invoke(app, ["show", str(evolved), "--tree", tree.row_id])
    assert unnamed.stdout == shown
    other = CliRunner().invoke(app, ["show", str(evolved), "dedup", "--tree", row["row_id"]])
    assert str(other.exception) == f"the row {row['row_id']!r} stands in no tree of dedup."


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_the_files_are_the_same_at_any_concurrency(
    self_instruct: Path, few: Path, tmp_path: Path, concurrency: int
) -> None:
    run = _evolve(self_instruct, tmp_path / "run", *FEW, f"teacher.concurrency={concurrency}")
    assert len(_all_rows(run)) > 60
    assert books.data_files(run) == books.data_files(few)


def test_replies_in_any_order_give_the_same_files(
    self_instruct: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = f"openai:test-model@{server.url}"
    runs = []
    slow = {"median_s": 0.5, "sigma": 0.4}  # all 24 are open at one time
    for n, latency in ((1, JITTER), (24, slow)):
        server.set_plan({"latency": latency})
        settings = (*FEW, f"teacher.concurrency={n}")
        runs.append(_evolve(self_instruct, tmp_path / str(n), *settings, teacher=teacher))
    assert books.data_files(runs[0]) == books.data_files(runs[1])
    assert Counter(r["kind"] for r in books.records(runs[0]))["reply"] > 150
    assert server.counts()["peak_in_flight"] == 24


def _command(source: Path, out: Path, *settings: str, teacher: str = "offline") -> list[str]:
    line = [sys.executable, "-m", "tests.run.runner", "--recipe", "evol-instruct"]
    line += ["--input", str(source), "--out", str(out), "--teacher", teacher]
    for setting in settings:
        line += ["--set", setting]
    return line


def test_a_run_that_was_killed_asks_nothing_twice_and_ends_with_the_same_files(
    self_instruct: Path, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"latency": {"median_s": 0.05, "sigma": 0.8}})
    teacher = f"openai:test-model@{server.url}"
    plain = _evolve(self_instruct, tmp_path / "plain", *FEW, teacher=teacher)
    n_plain = len([e for e in server.history("request") if e["kind"] == "chat"])
    out, rng = tmp_path / "run", Random(4)
    line = _command(self_instruct, out, *FEW, teacher=teacher)
    deaths = []
    for _ in range(3):
        wanted = len(books.replied(out)) + rng.randint(20, 50)
        process = processes.start(line)
        assert processes.wait_until(
            lambda wanted=wanted: len(books.replied(out)) >= wanted, process
        )
        processes.kill(process)
        time.sleep(0.2)
        deaths.append((server.history()[-1]["t"], len(books.replied(out))))
    assert processes.finish(line) == (0, "")
    books.check(out)
    assert books.data_files(out) == books.data_files(plain)
    assert set(books.all_files(out)) == set(books.all_files(plain))
    sent = [e for e in server.history("request") if e["kind"] == "chat"][n_plain:]
    assert deaths[0][1] < deaths[1][1] < deaths[2][1] < n_plain
    assert n_plain <= len(sent) <= n_plain + 32 * len(deaths)
    keys = Counter((r["key"], r["kind"]) for r in books.records(out))
    assert max(n for (_, kind), n in keys.items() if kind == "reply") == 1


@pytest.mark.parametrize("cap", ["budget.requests=320", "budget.tokens=70000"])
def test_a_budget_leaves_few_rows_half_done_and_the_rest_whole(
    self_instruct: Path, server: Server, tmp_path: Path, cap: str
) -> None:
    server.set_plan({"latency": {"median_s": 0.01, "sigma": 0.5}})
    n, out = 8, tmp_path / "run"
    with pytest.raises(BudgetError):
        _evolve(
            self_instruct,
            out,
            f"teacher.concurrency={n}",
            cap,
            teacher=f"openai:test-model@{server.url}",
        )
    state = books.stage_json(out, "evolve")
    begun = {r["slot"] for r in books.records(out) if r["kind"] == "reply"}
    through = state["next_slot"]
    assert len(begun) - through <= 2 * n, "begun, and not whole or behind one that is not"
    assert state["kept"] > 3 * through > 15


def test_a_replay_gives_the_same_bytes_and_asks_nothing(
    self_instruct: Path, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    run = _evolve(self_instruct, tmp_path / "run", *FEW, teacher=teacher)
    before, sent = books.data_files(run), server.counts()["requests"]
    assert replay(run, ignore).status == "finished"
    assert books.data_files(run) == before
    assert server.counts()["requests"] == sent


def test_a_changed_rule_is_replayed_without_a_request_and_gone_on_with(
    self_instruct: Path, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "auto"}})
    teacher = f"openai:test-model@{server.url}"
    strict = ("evolve.longest=25",)
    old = _evolve(self_instruct, tmp_path / "old", *FEW, *strict, teacher=teacher)
    n_long = open_run(old).stage("evolve").dropped_by_reason["too_long"]
    files, sent = books.all_files(old), server.counts()["requests"]
    new = tmp_path / "new"
    state = replay(old, ignore, out=new, settings=["evolve.longest=400"])
    assert server.counts()["requests"] == sent
    assert books.all_files(old) == files
    assert state.status == "stopped"
    dropped = open_run(new).stage("evolve").dropped_by_reason
    assert "too_long" not in dropped
    assert 0 < dropped["not_asked"] <= n_long
    assert recount(new).findings == []
    _evolve(self_instruct, new, *FEW, teacher=teacher)
    assert "not_asked" not in open_run(new).stage("evolve").dropped_by_reason
    fresh = _evolve(self_instruct, tmp_path / "fresh", *FEW, teacher=teacher)
    assert books.data_files(new) == books.data_files(fresh)


def _plan(source: Path, out: Path, *settings: str) -> Estimate:
    options = Options("evol-instruct", out=str(out), input=str(source), settings=settings)
    return estimate(prepare(options))


def test_a_plan_is_near_what_a_run_asks_and_its_worst_is_above(
    self_instruct: Path, evolved: Path, few: Path, tmp_path: Path
) -> None:
    for run, settings in ((evolved, ()), (few, FEW)):
        planned = _plan(self_instruct, tmp_path / "new", *settings)
        (one,) = planned.stages
        usage = open_run(run).stage("evolve").usage
        n_asked = sum(tokens.replies for tokens in usage)
        n_in = sum(tokens.input_tokens for tokens in usage)
        assert one.requests == pytest.approx(n_asked, rel=0.25)
        assert one.input_tokens == pytest.approx(n_in, rel=0.25)
        assert one.worst_requests >= n_asked
        assert one.worst_input_tokens is not None
        assert one.worst_input_tokens >= n_in
        assert one.worst_output_tokens == one.worst_requests * 2048
        assert f"{one.worst_requests:,} requests in all" in planned.as_text()


def test_the_worst_of_a_plan_is_asked_where_all_is_rewritten_in_breadth_and_kept(
    self_instruct: Path, tmp_path: Path
) -> None:
    names = ("constraints", "deepen", "concretize", "reasoning", "complicate", "breadth")
    for name, most in (("breadth", 4 * (1 + 2 + 4)), ("deepen", 4 * 3)):
        weights = ", ".join(f"{one}: {{weight: {int(one == name)}}}" for one in names)
        settings = (f"evolve.operations={{{weights}}}", "evolve.rounds=3", "import.rows=30")
        (one,) = _plan(self_instruct, tmp_path / name, *settings).stages
        assert one.worst_requests == 30 * most
        assert 0.5 * most < one.requests / 30 <= most
        run = _evolve(self_instruct, tmp_path / name, *settings)
        n_asked = sum(tokens.replies for tokens in open_run(run).stage("evolve").usage)
        assert one.requests == pytest.approx(n_asked, rel=0.25)
        assert n_asked <= one.worst_requests


def test_a_plan_asks_nothing_again_of_a_finished_run_and_for_more_rounds_the_rest(
    self_instruct: Path, few: Path
) -> None:
    (one,) = _plan(self_instruct, few, *FEW).stages
    assert (one.requests, one.worst_requests, one.worst_input_tokens) == (0, 0, 0)
    (more,) = _plan(self_instruct, few, *FEW, "evolve.rounds=3").stages
    assert 0 < more.requests < more.worst_requests <= 30 * 4 * 7
    (rows,) = _plan(self_instruct, few, *FEW, "import.rows=40").stages
    assert 0 < rows.requests <= 10 * 4 * 2.2
    assert rows.worst_requests == 10 * 4 * 3


def test_a_changed_rule_is_refused_in_the_runs_own_folder(few: Path) -> None:
    files = books.all_files(few)
    with pytest.raises(RecipeError, match=r"evolve\.refusal_words was 80 and is 10"):
        replay(few, ignore, settings=["evolve.refusal_words=10"])
    assert books.all_files(few) == files


def test_more_rounds_go_on_with_the_same_rows_and_ask_only_for_what_is_new(
    self_instruct: Path, few: Path, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    run = _evolve(self_instruct, tmp_path / "run", *FEW, teacher=teacher)
    kept = {row["row_id"]: row["instruction"] for row in books.rows(run, "evolve")}
    before = server.counts()["requests"]
    _evolve(self_instruct, run, *FEW, "evolve.rounds=3", teacher=teacher)
    later = {row["row_id"]: row["instruction"] for row in books.rows(run, "evolve")}
    assert kept.items() <= later.items()
    assert len(later) > len(kept)
    asked = server.counts()["requests"] - before
    fresh = _evolve(self_instruct, tmp_path / "fresh", *FEW, "evolve.rounds=3", teacher=teacher)
    assert books.data_files(run) == books.data_files(fresh)
    assert before + asked <= server.counts()["requests"] - before - asked + 5
    with pytest.raises(RecipeError, match="can only be raised"):
        _evolve(self_instruct, run, *FEW, "evolve.rounds=1", teacher=teacher)


def test_an_operation_is_added_in_a_recipe_with_a_template_beside_it(
    self_instruct: Path, server: Server, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "evolve-legal.md").write_text(
        "---\nname: evolve-legal\nversion: 3\nvariables: [instruction]\nsource: mine\n---\n"
        "Put the law into the given prompt and write the rewritten prompt: {{ instruction }}\n"
    )
    settings = (
        *FEW,
        f"prompts={prompts}",
        "evolve.operations={legal: {kind: depth, template: evolve-legal, weight: 5}}",
    )
    teacher = f"openai:test-model@{server.url}"
    run = _evolve(self_instruct, tmp_path / "run", *settings, teacher=teacher)
    legal = [row for row in books.rows(run, "evolve") if row["operation"] == "legal"]
    assert len(legal) > 10
    assert legal[0]["requests"][-4]["template"] == "evolve-legal@3"
    assert (run / "inputs" / "evolve-legal.md").is_file()
    with pytest.raises(RecipeError, match="does not know the template 'evolve-legal'"):
        _evolve(self_instruct, tmp_path / "offline", *settings)


def test_what_was_evolved_can_be_evolved_again_and_again(few: Path, tmp_path: Path) -> None:
    runs = [few]
    for n in (2, 3):
        out = tmp_path / str(n)
        runs.append(_evolve(runs[-1], out, "evolve.rounds=1", "shard_rows=40"))
        assert recount(out).findings == []
        ids = [str(row["row_id"]) for row in _all_rows(out)]
        received = {row["row_id"] for row in books.rows(out, "import")}
        assert len(ids) == len(set(ids))
        assert {one.split("-")[0] for one in set(ids) - received} == {f"evolve.{n}"}
    child = next(r for r in books.rows(runs[2], "evolve") if r["row_id"].startswith("evolve.3-"))
    told = CliRunner().invoke(app, ["show", str(runs[2]), "evolve", "--tree", child["row_id"]])
    assert child["row_id"] in told.output
    tree = tree_of(open_run(runs[2]), child["row_id"])
    assert tree is not None
    assert tree.row_id == child["parent_id"]


def test_without_an_input_it_starts_from_the_seed_tasks(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_and_recount(
        out,
        "evolve.rounds=1",
        recipe="evol-instruct",
        limit=12,
        teacher=f"openai:test-model@{server.url}",
    )
    roots = [row for row in books.rows(out, "evolve") if row["round"] == 0]
    assert [row["row_id"] for row in roots] == [f"seed-tasks-{n:06d}-00" for n in range(12)]
    assert {row["origin"] for row in roots} == {"seed"}
    assert len(books.rows(out, "evolve")) > 15
    assert (out / "inputs" / "seeds.jsonl").is_file()
    with pytest.raises(RecipeError, match="a run that it wrote with --input"):
        run_and_recount(tmp_path / "offline", recipe="evol-instruct")
