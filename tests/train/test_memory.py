"""What a training takes, counted from shapes, and what is refused before a weight is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")

from pipeline.errors import InputError
from pipeline.train import checks, memory, sft, tiny
from pipeline.train.methods import peft_config
from pipeline.train.settings import Config
from tests.train.test_sft import settings, sums, write

COUNTED = (
    *("lora", "rslora", "dora", "pissa", "qlora", "adalora", "fourierft"),
    *("prefix", "prompt", "llama_adapter", "full"),
)
GIB = 2**30


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tiny.make_tokenizer(["one two three"] * 9, tiny.Size())
    tiny.save(folder, tiny.make_model(tokenizer, tiny.Size(), seed=1), tokenizer)
    return folder


def shapes(folder: Path) -> memory.Base:
    found = memory.read_base(folder)
    assert found is not None
    return found


def changed(folder: Path, base: Path, **said: Any) -> Path:
    """A copy of a base whose configuration says something else."""
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | said))
    return folder


def job(folder: Path, base: Path, **more: Any) -> sft.Job:
    return sft.Job(base, write(folder / "rows.parquet", sums(20)), folder / "out",
                   settings(**more), 1)  # fmt: skip


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("method", COUNTED)
def test_what_a_method_trains_is_counted_as_peft_counts_it(base: Path, method: str) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    config = settings(method=method, layers="1" if method == "dora" else None)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    found = peft_config(config, base, steps=20)
    model = model if found is None else get_peft_model(model, found)
    numbers = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert memory.trained(shapes(base), config) == numbers


def test_targets_by_name_are_counted_alone(base: Path) -> None:
    width = 64
    one = settings(targets=("q_proj",), r=4)
    assert memory.trained(shapes(base), one) == 2 * 4 * (width + width)
    both = settings(targets=("q_proj", "o_proj"), r=4)
    assert memory.trained(shapes(base), both) == 2 * 2 * 4 * (width + width)


def test_each_part_of_what_is_needed_follows_its_setting(base: Path) -> None:
    found = shapes(base)

    def need(**more: Any) -> memory.Need:
        return memory.need(found, settings(**more), 100, in_16_bits=False)

    full, lora = need(method="full"), need()
    assert full.weights == full.gradients == 4 * found.numbers == full.optimizer // 2
    assert lora.weights == 4 * (found.numbers + lora.trainable)
    assert need(method="full", optimizer="adafactor").optimizer == 0
    assert need(method="full", optimizer="adamw_8bit").optimizer == 2 * found.numbers
    assert need(method="qlora").weights < lora.weights
    assert need(checkpointing=True).activations < lora.activations
    assert need(device_batch=4).activations < lora.activations
    halved = memory.need(found, settings(), 100, in_16_bits=True)
    assert halved.weights == 2 * found.numbers + 4 * lora.trainable


def test_a_training_is_refused_for_one_byte_and_says_what_to_change() -> None:
    found = memory.Need(6 * GIB, GIB, 2 * GIB, GIB, 100)
    given = {"where": "of this machine's memory are", "config": settings(method="full")}
    assert memory.refusal(found, found.total, **given) is None
    said = memory.refusal(found, found.total - 1, **given)
    assert said is not None
    assert said.startswith(
        "this training takes at least 10.0 GiB (weights 6.0 GiB, gradients 1.0 GiB, the optimizer "
        "2.0 GiB, activations 1.0 GiB), and 10.0 GiB of this machine's memory are free. "
    )
    assert "Try sft.method=lora" in said
    wide = memory.Need(GIB, 0, 0, 6 * GIB, 100)
    said = memory.refusal(wide, 0, where="are", config=settings(device_batch=1, checkpointing=True))
    assert said is not None
    assert "Try a smaller sft.max_length, a smaller base" in said


def test_a_base_that_does_not_fit_is_refused_before_it_is_loaded(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_on_host", lambda: 2**20)
    with pytest.raises(InputError, match=r"takes at least \d+ MiB .* and 1 MiB of this machine's"):
        sft.run(job(tmp_path, base), lambda said: None)
    assert not (tmp_path / "out" / "adapter").exists()


def test_the_least_of_all_limits_counts(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    assert memory.free_on_host(proc, groups) is None
    (proc / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 4096 kB\nSwapFree: 1024 kB\n")
    assert memory.free_on_host(proc, groups) == 5 * 2**20
    (proc / "self" / "cgroup").write_text("4:memory:/a\n3:cpu:/a\n0::/jobs/one\n")
    assert memory.free_on_host(proc, groups) == 5 * 2**20
    own = groups / "jobs" / "one"
    own.mkdir(parents=True)
    for folder, limit in ((own, "max"), (own.parent, "3000000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("1000000\n")
        (folder / "memory.stat").write_text("anon 5\ninactive_file 400000\n")
    assert memory.free_on_host(proc, groups) == 2_400_000
    old = groups / "memory" / "a"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("2000000\n")
    (old / "memory.usage_in_bytes").write_text("500000\n")
    (old / "memory.stat").write_text("total_inactive_file 0\n")
    assert memory.free_on_host(proc, groups) == 1_500_000
    (old / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")  # what stands for no limit
    assert memory.free_on_host(proc, groups) == 2_400_000


def test_shapes_that_cannot_be_read_refuse_nothing(tmp_path: Path, base: Path) -> None:
    folder = changed(tmp_path, base)
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    assert memory.read_base(folder) is None
    checks.check_room(folder, Config(), 10**9)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "there is no row to train on"),
        ([dict(sums(4)[0], turns=sums(4)[0]["turns"][:1])], "none of 1 rows has an answer"),
        ([dict(row, held_out=True) for row in sums(4)], "all of 4 rows are held out"),
    ],
)
def test_rows_that_teach_nothing_are_refused_before_a_base_is_made(
    tmp_path: Path, rows: list[dict[str, Any]], told: str
) -> None:
    path = write(tmp_path / "rows.parquet", rows)
    with pytest.raises(InputError, match=told):
        sft.run(sft.Job(None, path, tmp_path / "out", settings(), 1), lambda said: None)
    assert not (tmp_path / "out").exists()


def test_code_of_a_base_is_refused_where_transformers_lacks_its_kind(
    tmp_path: Path, base: Path
) -> None:
    code = {"AutoModelForCausalLM": "modeling_own.Own"}
    (tmp_path / "own").mkdir()
    own = changed(tmp_path / "own", base, auto_map=code, model_type="our_own")
    with pytest.raises(InputError, match=r"no model of the kind 'our_own'\. Code of a model is"):
        sft.run(job(tmp_path, own), lambda said: None)
    (tmp_path / "known").mkdir()
    checks.check_kind(changed(tmp_path / "known", base, auto_map=code))


def test_weights_that_only_a_gpu_reads_are_refused_without_one(tmp_path: Path, base: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for method in ("gptq", "bitsandbytes"):
        (tmp_path / method).mkdir()
        folder = changed(tmp_path / method, base, quantization_config={"quant_method": method})
        if method == "bitsandbytes":
            checks.check_kind(folder)
            continue
        with pytest.raises(InputError, match="by gptq, which needs a GPU, and there is none here"):
            sft.run(job(tmp_path, folder), lambda said: None)
