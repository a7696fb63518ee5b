"""`synth run sft`: rows in, a model out; what is refused; what a kill or a signal leaves."""

import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")

from pipeline.errors import InputError
from pipeline.run.estimate import estimate
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge
from pipeline.verify import recount, verify
from tests.run import books
from tests.security.command import environment, line, synth
from tests.soaked import REASON, SOAK, soaked

FEW = ("--set", "sft.max_steps=12", "--set", "sft.save_every=2", "--set", "sft.batch=8")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    given = [
        {"instruction": f"Add {n} and {n}.", "output": f"The sum is {n + n}."} for n in range(60)
    ]
    given[7]["output"] = ""
    given[8]["instruction"] = "word " * 900
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path


def command(rows: Path, out: Path, *more: str) -> list[str]:
    return ["run", "sft", "--input", str(rows), "--out", str(out), *FEW, *more]


def begin(rows: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        line(*command(rows, out)),
        env=environment(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trainers(out: Path) -> list[int]:
    """The processes that train for a run: those whose log it has open."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"sft_child" in (folder / "cmdline").read_bytes():
                log = str((folder / "fd" / "2").readlink())
                found += [int(folder.name)] * log.startswith(str(out.resolve()))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def trained(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    done = synth(*command(rows, out), timeout=180, variables={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert b"The base is 'tiny'" in done.stderr
    return out


def test_every_row_is_trained_on_held_out_or_dropped_with_its_reason(trained: Path) -> None:
    kept, dropped = books.rows(trained, "sft"), books.rows(trained, "sft", "dropped")
    assert len(kept) + len(dropped) == 60
    assert [(row["row_id"][-6:], row["drop_reason"]) for row in dropped] == [
        ("007-00", "no_answer"), ("008-00", "prompt_fills_the_context"),
    ]  # fmt: skip
    assert {row["held_out"] for row in kept} == {True, False}
    assert all(0 < row["learned_tokens"] < row["tokens"] for row in kept)
    measures = books.stage_json(trained, "sft")["measures"]
    assert measures["rows_trained"] == sum(not row["held_out"] for row in kept)
    assert measures["steps"] == 12


def test_a_model_its_curve_and_its_card_come_out(trained: Path) -> None:
    model = trained / "model"
    assert (model / "adapter" / "adapter_model.safetensors").is_file()
    assert not list(model.rglob("*.bin")) + list(model.rglob("*.pt"))
    curve = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert max(entry["step"] for entry in curve) == 12
    card = (model / "adapter" / "README.md").read_text()
    assert card == (model / "README.md").read_text()
    digest = books.stage_json(trained, "sft")["input_digest"]
    for told in ("library_name: peft", "method: lora", "max_steps: 12", digest, "tiny"):
        assert told in card
    used = ("alpha: 32.0", "learning_rate: 0.0002", "max_length: 512", "bf16: false")
    assert all(f"\n{told}\n" in card for told in used), "what was used, where none was set"
    assert "bits a trainable parameter." in card
    assert "More Information Needed" not in card


def test_the_same_command_again_does_nothing_and_verify_finds_it_whole(
    rows: Path, trained: Path
) -> None:
    before = books.all_files(trained)
    done = synth(*command(rows, trained))
    assert done.returncode == 0
    assert b"nothing to do" in done.stderr
    assert f"a model in {trained / 'model'} (made" in done.stderr.decode()
    status = synth("status", str(trained)).stdout.decode()
    loss = books.stage_json(trained, "sft")["measures"]["loss"]
    assert f"sft: loss {loss:.4f}".rstrip("0") in status
    assert books.all_files(trained) == before
    assert synth("verify", str(trained)).returncode == 0


def copied(trained: Path, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    return run


def test_rows_are_kept_once_and_a_purge_takes_the_model_that_learned_from_them(
    rows: Path, trained: Path, tmp_path: Path
) -> None:
    run = copied(trained, tmp_path)
    assert not list((run / ".staging").iterdir())
    kept = books.rows(run, "sft")
    learned, held_out = (
        next(row["row_id"] for row in kept if row["held_out"] is is_out) for is_out in (False, True)
    )
    done = synth("purge", str(run), "--row", held_out)  # its loss was measured, no more
    assert done.returncode == 0, done.stderr
    assert (run / "model").is_dir()
    before = books.all_files(run)
    dropped = next(row["row_id"] for row in books.rows(run, "sft", "dropped"))
    with pytest.raises(InputError, match="model has learned from it, and goes with it"):
        purge(run, row=dropped)  # its base has
    done = synth("purge", str(run), "--row", learned)
    assert done.returncode == 2
    assert f"{run}/model has learned from it, and goes with it: take --model" in str(done.stderr)
    after = books.all_files(run)
    assert {n: b for n, b in after.items() if n != "lock"} == {
        n: b for n, b in before.items() if n != "lock"
    }
    done = synth("purge", str(run), "--row", learned, "--model")
    assert done.returncode == 0, done.stderr
    assert f"synth run sft --input {run} --out NEW trains another" in done.stdout.decode()
    assert not (run / "model").exists()
    done = synth("verify", str(run))
    assert done.returncode == 0, done.stderr
    assert b"model/ is not there any more: a purge took it away" in done.stdout + done.stderr
    again = synth(*command(rows, run))
    assert b"a model in" not in again.stderr


def test_a_file_of_a_model_that_was_changed_or_lost_is_found(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path)
    assert verify(run).findings == []
    weights = run / "model" / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert found(run).startswith("model/adapter/adapter_model.safetensors: SHA-256 is ")
    weights.write_bytes(whole[:-1])
    assert found(run) == (
        f"model/adapter/adapter_model.safetensors: {len(whole) - 1} bytes, {len(whole)} are listed"
    )
    weights.unlink()
    assert found(run).endswith("adapter_model.safetensors: listed, and cannot be read: "
                               "No such file or directory")  # fmt: skip
    weights.write_bytes(whole)
    listed = run / "model" / "files.json"
    listed.write_text(listed.read_text().replace("adapter/", "elsewhere/"))
    assert found(run) == "model/files.json: it is not what the run wrote"
    aside = tmp_path / "aside"
    (run / "model").rename(aside)
    assert found(run) == "model/files.json: cannot be read: No such file or directory"
    aside.rename(run / "model")
    stage = next(run.glob("stages/*-sft/stage.json"))
    state = json.loads(stage.read_text())
    del state["measures"]["model_files"]  # of a time when none was listed
    stage.write_text(json.dumps(state))
    listed.unlink()
    assert not [one for one in recount(run).findings if one.startswith("model/")]
    assert any("was trained before synth listed" in note for note in recount(run).notes)


def found(run: Path) -> str:
    """The one thing that is wrong with a run."""
    (finding,) = recount(run).findings
    return finding


def test_a_model_goes_along_where_a_stage_is_taken_over(
    rows: Path, trained: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    done = synth("run", "sft", "--from", str(trained), "--out", str(new), *FEW)
    assert done.returncode == 0, done.stderr
    assert b"The base is 'tiny'" not in done.stderr, "nothing was trained again"
    ours, theirs = (
        {path.relative_to(run): path.read_bytes() for path in (run / "model").rglob("*.*")}
        for run in (new, trained)
    )
    assert ours == theirs
    assert verify(new).findings == []


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_a_damaged_model_is_put_aside_by_a_repair_and_trained_again(
    rows: Path, trained: Path, tmp_path: Path
) -> None:
    run = copied(trained, tmp_path)
    weights = run / "model" / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"damaged")
    done = synth("repair", str(run))
    assert done.returncode == 0, done.stderr
    assert b"adapter_model.safetensors: 7 bytes" in done.stdout
    assert not (run / "model").exists()
    assert (run / "before-repair-1/model/adapter/adapter_model.safetensors").is_file()
    done = synth(*command(rows, run), timeout=180, variables={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert weights.read_bytes() == whole
    assert verify(run).findings == []


def curve(run: Path) -> list[tuple[int, float]]:
    """The steps that were logged, each with its loss."""
    text = (run / "model" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("number", [signal.SIGKILL, soaked(signal.SIGTERM)])
def test_a_training_that_is_ended_goes_on_by_the_same_command(
    rows: Path, trained: Path, tmp_path: Path, number: signal.Signals
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "run"
    process = begin(rows, out)
    until = time.monotonic() + 150
    while not list(out.glob("model/checkpoints/*/trainer_state.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (75 if number == signal.SIGTERM else -number)
    until = time.monotonic() + 10
    while trainers(out):
        assert time.monotonic() < until, "the training outlived its run"
        time.sleep(0.05)
    assert not (out / "model" / "adapter").exists()
    if number == signal.SIGTERM:
        return  # what is there is what a kill leaves
    done = synth(*command(rows, out), timeout=180, variables={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    whole, again = (books.stage_json(run, "sft")["measures"] for run in (trained, out))
    for measure in ("loss", "held_out_loss"):
        assert abs(whole[measure] - again[measure]) < 1e-6
    assert curve(trained) == curve(out)
    saved = [run / "model" / "adapter" / "adapter_model.safetensors" for run in (trained, out)]
    one, other = map(load_file, saved)
    assert all((one[key] - other[key]).abs().max() < 1e-6 for key in one)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (None, "there is no folder"),
        ({}, "no config.json with weights in safetensors"),
        ({"adapter_config.json": "{}"}, "is an adapter"),
        ({"config.json": "{}", "model.safetensors": ""}, "has no chat template"),
    ],
)
def test_a_base_that_cannot_be_trained_is_refused_before_anything_is_read(
    rows: Path, tmp_path: Path, files: dict[str, str] | None, told: str
) -> None:
    base = tmp_path / "base"
    if files is not None:
        base.mkdir()
    for name, text in (files or {}).items():
        (base / name).write_text(text)
    done = synth(*command(rows, tmp_path / "run", "--set", f"sft.base={base}"))
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert "sft.base" in done.stderr.decode()
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_base_that_the_hub_has_not_is_named_as_it_was_given(rows: Path, tmp_path: Path) -> None:
    given = command(rows, tmp_path / "run", "--set", "sft.base=nobody/nothing")
    done = synth(*given, variables={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "sft.base=nobody/nothing: there is no such folder here" in done.stderr.decode()


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_what_was_trained_by_hand_is_taken_in_by_the_same_command(
    rows: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = command(rows, run, "--set", "sft.distributed.by_hand=true")
    first = synth(*given)
    assert first.returncode == 75
    job = run.resolve() / "model" / "job.json"
    assert f"-m pipeline.train.sft_child {job}" in first.stderr.decode()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train.sft_child", str(job)],
        env=environment(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    steps = [json.loads(line) for line in done.stdout.splitlines() if '"step"' in line]
    assert steps[-1] == {"step": 12, "steps": 12}
    again = synth(*given)
    assert again.returncode == 0, again.stderr
    assert books.stage_json(run, "sft")["measures"]["steps"] == 12
    assert len(books.rows(run, "sft")) == 58
    assert not job.exists()
    assert synth("verify", str(run)).returncode == 0


@pytest.mark.parametrize("processes", [soaked(2)])
def test_processes_that_a_run_starts_train_what_one_does(
    rows: Path, trained: Path, tmp_path: Path, processes: int
) -> None:
    given = command(rows, tmp_path / "run", "--set", f"sft.processes={processes}")
    done = synth(*given, timeout=180, variables={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    one, two = (books.stage_json(run, "sft")["measures"] for run in (trained, tmp_path / "run"))
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert [step for step, _ in curve(tmp_path / "run")] == [step for step, _ in curve(trained)]
    assert not trainers(tmp_path / "run")


def test_rows_of_which_none_can_be_learned_end_the_run_before_a_step(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"instruction": "Add.", "output": ""}\n' * 3)
    done = synth(*command(source, tmp_path / "run"), timeout=120)
    assert done.returncode == 2
    assert "none of 3 rows has an answer to learn. Where answers have" in done.stderr.decode()


def refused(folder: Path, given: list[dict[str, object]], *more: str) -> str:
    """What is said of rows that nothing can be learned from; no base is made, and none loaded."""
    path = folder / "given.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    done = synth(*command(path, folder / "run", *more), variables={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 2, done.stderr
    assert not (folder / "run/model/adapter").exists()
    assert not list((folder / "run").glob("model/checkpoints/*"))
    return done.stderr.decode()


long = functools.partial(pytest.param, marks=pytest.mark.skipif(not SOAK, reason=REASON))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"asked": "a", "told": "b"}, "its fields 'asked', 'told' have no shape that is known"),
        long({"instruction": "Say it."}, "none of 1 rows has an answer to learn. Where answers"),
        long({"instruction": "Say it.", "output": 3}, "there is no row to train on: those that"),
        long({"messages": "hello"}, "there is no row to train on: those that were"),
    ],
)
def test_a_missing_or_wrong_column_is_said(
    tmp_path: Path, row: dict[str, object], told: str
) -> None:
    said = refused(tmp_path, [row])
    assert told in said
    assert said.count("synth: ") == 1
    assert "The base is 'tiny'" not in said


def test_a_context_shorter_than_the_shortest_row_is_said(trained: Path, tmp_path: Path) -> None:
    row = {"instruction": "Say something that is rather long, please.", "output": "No."}
    base = f"sft.base={trained / 'model' / 'base'}"
    more = ("--set", base, "--set", "sft.max_length=8", "--set", "sft.validation=0")
    said = refused(tmp_path, [row], *more)
    assert "prompt_fills_the_context 1. The base and sft.max_length let 8 tokens of a row" in said
    assert re.search(r"be read, and the shortest row has \d\d\.", said)


@pytest.mark.parametrize("part", ["adapter", "base"])
def test_a_base_that_is_none_or_cannot_chat_is_said(
    trained: Path, tmp_path: Path, part: str
) -> None:
    folder = Path(shutil.copytree(trained / "model" / part, tmp_path / part))
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    row = {"instruction": "Say it.", "output": "It."}
    said = refused(tmp_path, [row], "--set", f"sft.base={folder}")
    told = {"adapter": "is an adapter: name the base that it was", "base": "has no chat template"}
    assert told[part] in said


def test_a_plan_says_what_would_be_trained(rows: Path, trained: Path, tmp_path: Path) -> None:
    base = trained / "model" / "base"
    said = synth("plan", *command(rows, tmp_path / "run", "--set", f"sft.base={base}")[1:])
    text = said.stdout.decode()
    assert "* sft: about 57 rows to train on and 3 held out, 12 steps of 8 rows, method" in text
    trainable = books.stage_json(trained, "sft")["measures"]["trainable"]
    assert f"weights, and {trainable:,} numbers beside them are trained" in text
    assert re.search(r"at least \d+ MiB in bfloat16, as on a GPU, or \d+ MiB in float32", text)
    without = synth("plan", *command(rows, tmp_path / "run")[1:]).stdout.decode()
    assert "no base is named (sft.base): a tiny one is made for the run" in without


PHASES = "[{cap: 12, epochs: 2}, {share: 0.5, epochs: 1}, {where: {output: [one]}}]"


@pytest.mark.parametrize(
    ("settings", "steps", "told"),
    [
        ((), 22, ()),  # 3 epochs of 57 rows, 8 at a time
        (("phases=[{cap: 12, epochs: 2}, {share: 0.5, epochs: 1}]",), 7, ()),
        ((f"phases={PHASES}", "max_steps=20"), 20, ("which rows meet the 'where' of a phase",)),
        (("packing=true",), 22, ("how many rows fit into a pack: steps are fewer",)),
        (("stopping={patience: 2}", "max_steps=9"), 9, ("that it may end early",)),
        (("plain={file: plain.txt}",), 22, ("the plain text, which takes steps of its own",)),
    ],
)
def test_a_plan_counts_steps_as_phases_have_them_and_says_what_it_cannot(
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
    steps: int,
    told: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain.txt").write_text("A text.")
    said = planned(rows, tmp_path, "sft.batch=8", *(f"sft.{one}" for one in settings))
    assert f"held out, {steps} steps of 8 rows" in said[0]
    left_out = [f"sft: not counted: {'; '.join(told)}"] if told else []
    assert [line.partition(" (all")[0] for line in said if "not counted" in line] == left_out


def test_a_plan_says_that_it_does_not_know_a_mixture(rows: Path, tmp_path: Path) -> None:
    mixture = ("mix.method=proportional", "mix.cap=20")
    said = planned(rows, tmp_path, *mixture)
    assert "sft: not counted: how many rows the mixture draws, and how often" in said
    assert not [line for line in planned(rows, tmp_path, mixture[0]) if "mixture" in line]


def planned(rows: Path, folder: Path, *settings: str) -> list[str]:
    """What a plan says of a training."""
    sets = (f"one={rows}", f"two={rows}") if "mix.method=proportional" in settings else ()
    source = None if sets else str(rows)
    options = Options("sft", out=str(folder / "run"), input=source, inputs=sets, settings=settings)
    return [one for one in estimate(prepare(options)).assumptions if one.startswith("sft:")]
