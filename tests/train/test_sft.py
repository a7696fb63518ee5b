"""Fine-tuning for real, on the processor: every method, what is saved, and a killed training."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")

from pipeline import recipe
from pipeline.errors import InputError, RecipeError
from pipeline.train import bottleneck, described, sft, sharing, tiny
from pipeline.train.arguments import arguments
from pipeline.train.checks import check_targets
from pipeline.train.encoding import Encoder
from pipeline.train.settings import BOTTLENECKS, METHODS, Config
from pipeline.train.sft import Job, run
from tests.soaked import soaked

QUICK = ("lora", "dora", "adalora", "qlora", "prefix", "prompt", "bottleneck", "full")
DONE = {
    *("steps", "loss", "held_out_loss", "trainable", "bits_a_parameter", "learned_tokens"),
    *("rows_trained", "rows_cut"),
}


def sums(n: int) -> list[dict[str, Any]]:
    """Rows that are easy to learn."""
    rows = []
    for number in range(n):
        a, b = number % 10, number // 10
        turns = [
            {"role": "user", "content": f"Add {a} and {b}."},
            {"role": "assistant", "content": f"The sum of {a} and {b} is {a + b}."},
        ]
        rows.append({"turns": turns, "held_out": number % 10 == 3, "curriculum": None})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    schema = pa.schema(
        [("turns", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
         ("held_out", pa.bool_()), ("curriculum", pa.float64()), ("copies", pa.int64()),
         ("phases", pa.list_(pa.int32()))]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has read the answers, shared by all trainings."""
    folder = tmp_path_factory.mktemp("base")
    job = Job(None, write(folder / "rows.parquet", sums(80)), folder / "out", settings(), 1)
    run(job, lambda said: None)
    return folder / "out" / "base"


def settings(**more: Any) -> Config:
    given = {"max_steps": 4, "batch": 8, "virtual_tokens": 4, "r": 4}
    return Config.model_validate(given | more)


def train(folder: Path, base: Path, rows: list[dict[str, Any]] | None = None,
          **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """What came of a training, and all that it told."""
    folder.mkdir(exist_ok=True)
    told: list[dict[str, Any]] = []
    path = write(folder / "rows.parquet", rows if rows is not None else sums(80))
    run(Job(base, path, folder / "out", settings(**more), 1), told.append)
    return told[-1]["done"], told


def held_out_losses(folder: Path) -> list[float]:
    """The losses on rows held out, in the order in which they were measured."""
    text = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["eval_loss"] for line in lines if "eval_loss" in line]


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        ids = torch.arange(3, 40)[None]
        return model(input_ids=ids).logits[:, -ids.shape[1] :]  # without those of virtual tokens


def loss_of(model: Any, base: Path) -> float:
    """What a model that was loaded again loses on the rows held out, in one batch."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [Encoder(tokenizer).encode(row["turns"]) for row in sums(80) if row["held_out"]]
    width = max(len(row.ids) for row in rows)
    padded = [
        (row.ids + [0] * (width - len(row.ids)), row.labels + [-100] * (width - len(row.ids)))
        for row in rows
    ]
    ids, labels = (torch.tensor([one[part] for one in padded]) for part in (0, 1))
    mask = torch.tensor([[at < len(row.ids) for at in range(width)] for row in rows])
    model.eval()
    with torch.inference_mode():
        scores = model(input_ids=ids, attention_mask=mask.long()).logits[:, -width:-1]
        wanted = labels[:, 1:]
        return float(torch.nn.functional.cross_entropy(scores.transpose(1, 2), wanted))


def loaded(base: Path, adapter: Path | None = None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    return model if adapter is None else PeftModel.from_pretrained(model, adapter)


SLOW = {"qlora": 2e-3, "llama_adapter": 3e-2}
"""Rates for methods that do not get far enough in 20 steps at their own to tell."""


@pytest.mark.parametrize("method", [soaked(one, one not in QUICK) for one in METHODS])
def test_each_method_trains_saves_and_is_loaded_again(
    tmp_path: Path, base: Path, method: str
) -> None:
    quicker = {"learning_rate": SLOW[method]} if method in SLOW else {}
    found, told = train(tmp_path, base, method=method, max_steps=20, **quicker)
    assert found.keys() == DONE
    assert found["steps"] == 20
    assert found["rows_trained"] == 72
    assert [one["step"] for one in told if "step" in one] == list(range(1, 21))
    losses = held_out_losses(tmp_path)
    assert losses[-1] < losses[0], "the held-out loss falls"
    folder = tmp_path / "out" / ("full" if method == "full" else "adapter")
    files = {path.name for path in folder.iterdir()}
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert {"tokenizer.json", "chat_template.jinja"} <= files
    assert not (tmp_path / "out" / "checkpoints").exists()
    if method == "full":
        model = loaded(folder)
    elif method in BOTTLENECKS:
        model = bottleneck.load(base, folder)
    else:
        config = json.loads((folder / "adapter_config.json").read_text())
        assert "adapter_model.safetensors" in files
        model = loaded(base, folder)
        if method == "adalora":
            kept = [one for pattern in config["rank_pattern"].values() for one in pattern]
            assert True in kept and False in kept, "its ranks have adapted"  # noqa: PT018
        if method in ("dora", "rslora"):
            assert config[f"use_{method}"] is True
    assert (logits(model) - logits(loaded(base))).abs().max() > 1e-4
    if method != "qlora":  # the base is loaded as it is here, and not in few bits
        assert abs(loss_of(model, base) - found["held_out_loss"]) < 1e-5


def test_a_base_is_held_in_four_bits(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    settle = sft._settle
    monkeypatch.setattr(sft, "_settle", lambda model: (settle(model), seen.append(model)))
    train(tmp_path, base, method="qlora", max_steps=1)
    held = [
        one
        for one in seen[0].modules()
        if type(one).__module__.startswith("bitsandbytes") and type(one).__name__ == "Linear4bit"
    ]
    assert len(held) == 2 * 7, "the linear layers of both blocks"
    states = [one.weight.quant_state for one in held]
    assert {(one.quant_type, one.nested) for one in states} == {("nf4", True)}, "quantised twice"


@pytest.mark.parametrize("method", ["lora", soaked("dora"), soaked("rslora")])
def test_a_merged_model_says_what_base_and_adapter_say(
    tmp_path: Path, base: Path, method: str
) -> None:
    train(tmp_path, base, method=method, merge=True)
    both = logits(loaded(base, tmp_path / "out/adapter"))
    assert (logits(loaded(tmp_path / "out/merged")) - both).abs().max() < 1e-5


def test_rows_that_nothing_is_learned_of_are_told_and_counted(tmp_path: Path, base: Path) -> None:
    rows = sums(20)
    rows[0]["turns"][0]["content"] = "word " * 600
    rows[1]["turns"][1]["content"] = "word " * 600
    rows[2]["turns"] = rows[2]["turns"][:1]
    found, told = train(tmp_path, base, rows, max_length=100)
    verdicts = next(one["verdicts"] for one in told if "verdicts" in one)
    assert [verdict[0] for verdict in verdicts[:4]] == [
        "prompt_fills_the_context", None, "no_answer", None,
    ]  # fmt: skip
    assert found["rows_cut"] == 1
    assert found["rows_trained"] == 16
    with pytest.raises(InputError, match="of 2 rows none is left to train on: no_answer 1, prompt"):
        train(tmp_path / "none", base, [rows[0], rows[2]], max_length=100)


def test_rows_are_shown_in_the_order_of_their_curriculum(tmp_path: Path, base: Path) -> None:
    rows = [dict(row, curriculum=80 - number) for number, row in enumerate(sums(80))]
    one, told = train(tmp_path / "a", base, rows)
    assert any("order of their column" in str(said.get("said")) for said in told)
    rows.reverse()
    other, _ = train(tmp_path / "b", base, rows)
    assert one["loss"] == other["loss"]


def test_noise_is_added_in_training_alone(tmp_path: Path, base: Path) -> None:
    plain, _ = train(tmp_path / "plain", base, max_steps=1)
    noisy, _ = train(tmp_path / "noisy", base, max_steps=1, neftune_alpha=5.0)
    assert noisy["loss"] != plain["loss"]
    first, second = (
        [
            json.loads(line)
            for line in (tmp_path / name / "out/metrics.jsonl").read_text().splitlines()
        ]
        for name in ("plain", "noisy")
    )
    evaluated = [
        [line["eval_loss"] for line in curve if "eval_loss" in line] for curve in (first, second)
    ]
    assert abs(evaluated[0][-1] - evaluated[1][-1]) < 0.05
    assert evaluated[1][-1] == evaluated[1][-2], "twice measured without noise is twice the same"


def test_the_steps_of_a_packed_training_are_those_of_its_packs(tmp_path: Path, base: Path) -> None:
    rows = [dict(row, held_out=False) for row in sums(32)]
    long = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "word " * 90}]
    rows[0]["turns"] = long  # eight others and more fit into a pack as long as it
    more = {"max_steps": None, "epochs": 2, "batch": 2}
    plain, _ = train(tmp_path / "plain", base, rows, **more)
    packed, _ = train(tmp_path / "packed", base, rows, packing=True, **more)
    assert plain["steps"] == 32
    assert packed["steps"] < 16


def test_packed_documents_do_not_see_each_other(tmp_path: Path, base: Path) -> None:
    rows = [dict(row, held_out=False) for row in sums(8)]
    rows[0]["turns"] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "word " * 90},  # the others fit into a pack as long as it
    ]
    plain, _ = train(tmp_path / "plain", base, rows, max_steps=1, batch=8)
    packed, _ = train(tmp_path / "packed", base, rows, max_steps=1, batch=8, packing=True)
    assert abs(packed["loss"] - plain["loss"]) < 1e-4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "prompt", "packing": True}, "packed rows would see each other"),
        ({"method": "prefix", "checkpointing": True}, "method prefix and checkpointing"),
        ({"method": "full", "merge": True}, "it has nothing to merge"),
        ({"method": "bottleneck", "merge": True}, "it has nothing to merge"),
        ({"method": "prompt", "layers": "1"}, "it has none in single layers"),
        ({"bottleneck": {"width": 8}}, "counts under the methods bottleneck and"),
        ({"stopping": {}, "validation": 0}, "stopping looks at the loss on rows held out"),
        ({"packing": True, "curriculum": "rating"}, "packing and an order"),
        ({"phases": [{"plain": 0.5}]}, "name its file as plain.file"),
        ({"processes": 3}, "batch is no multiple of processes"),
        ({"distributed": {"fsdp": {"version": 2}}}, "fsdp counts under the strategy 'fsdp'"),
        ({"distributed": {"ddp": {"bucket": 2}}}, "ddp has no setting 'bucket'"),
        ({"distributed": {"strategy": "deepspeed"}}, "needs its configuration"),
        ({"distributed": {"strategy": "fsdp"}, "merge": True}, "no process has all weights"),
        ({"distributed": {"strategy": "fsdp"}, "method": "qlora"}, "it is not laid in shards"),
        ({"targets": ["q_proj", "lm_head"]}, "targets and lm_head"),
        ({"batch": 10, "device_batch": 4}, "no multiple of device_batch"),
        ({"method": "ia4"}, "Input should be"),
    ],
)
def test_what_is_known_not_to_work_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Config.model_validate(given)


def test_all_that_is_refused_is_told_at_once() -> None:
    given = {"sft.method": "prefix", "sft.packing": True, "sft.checkpointing": True}
    text = "name: mine\nstages: [{stage: import}, {stage: sft}]"
    more: dict[str, Any] = {"sft.r": 0, "sft.batch": "many", "sft.device_batch": 3}
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, where="mine", settings=given | more)
    said = str(caught.value)
    for told in ("prefix and packing", "prefix and checkpointing", "sft.r: ", "sft.batch: "):
        assert told in said
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, where="mine", settings={"sft.method": "lorra", "sft.bottleneck": {}})
    assert "counts under the methods" not in str(caught.value), "which method is not known"


@pytest.mark.parametrize(
    ("targets", "told"),
    [(["q_proj", "nope"], "sft.targets names 'nope', and the base"), (".*nope", "'.*nope'"),
     (["self_attn.q_proj"], None), (r".*\.q_proj", None), ("all-linear", None)],
)  # fmt: skip
def test_layers_that_a_base_has_not_are_told_before_it_is_loaded(
    base: Path, targets: Any, told: str | None
) -> None:
    if told is None:
        check_targets(base, settings(targets=targets))
        return
    with pytest.raises(InputError) as caught:
        check_targets(base, settings(targets=targets))
    assert told in str(caught.value)
    assert "its linear ones are down_proj, gate_proj, k_proj" in str(caught.value)


def test_an_adapter_of_some_layers(tmp_path: Path, base: Path) -> None:
    from safetensors.torch import load_file

    train(tmp_path, base, layers="1")
    names = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == {"1"}
    with pytest.raises(InputError, match=r"has 2 layers, from 0, and sft\.layers names 2"):
        train(tmp_path / "outside", base, layers="1-2")
    assert settings(layers="0,4,8-10").layer_numbers == [0, 4, 8, 9, 10]


@pytest.fixture(scope="module")
def short(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's shape: 64 positions that are learned, under a name of its own, and none more."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("short")
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    size = {"n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
    shape = GPT2Config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **size)
    GPT2LMHeadModel(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["prefix", "p_tuning_lstm", soaked("lora")])
def test_rows_and_virtual_tokens_together_fit_into_what_the_base_reads(
    tmp_path: Path, short: Path, method: str
) -> None:
    rows = sums(16)
    for row in rows:
        row["turns"][1]["content"] += " And so on." * 30
    found, told = train(tmp_path, short, rows, method=method, max_steps=1)
    used = next(one["used"] for one in told if "used" in one)
    assert used["max_length"] == (64 if method == "lora" else 60)
    assert found["rows_cut"] == 16, "those held out are cut as well"
    if method == "prefix":
        with pytest.raises(InputError, match="virtual_tokens=64 leave no room for a row"):
            train(tmp_path / "none", short, rows, method=method, virtual_tokens=64)


def test_what_a_base_reads_is_found_under_each_name_for_it(tmp_path: Path) -> None:
    def told(**config: Any) -> tuple[int | None, int | None]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return described.positions(tmp_path), described.layers(tmp_path)

    assert told(max_position_embeddings=512, num_hidden_layers=2) == (512, 2)
    assert told(n_positions=64, n_layer=3) == (64, 3)
    text = {"max_position_embeddings": 32, "num_hidden_layers": 4}
    assert told(text_config=text, num_hidden_layers=9) == (32, 4), "not that of the pictures"
    assert told(model_type="other") == (None, None)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_settings_are_what_the_trainer_is_told(tmp_path: Path) -> None:
    def told(**more: Any) -> Any:
        return arguments(settings(**more), tmp_path, 7, steps=50, n_measured=3, longest=40)

    found = told()
    assert (found.optim, found.lr_scheduler_type) == ("adamw_torch", "cosine")
    assert (found.learning_rate, found.weight_decay, found.max_grad_norm) == (2e-4, 0.0, 1.0)
    assert (found.warmup_steps, found.max_steps, found.seed, found.data_seed) == (0.03, 50, 7, 7)
    assert (found.gradient_checkpointing, found.packing, found.max_length) == (False, False, None)
    assert found.neftune_noise_alpha is None
    assert told(method="full").learning_rate == 2e-5
    given = {"learning_rate": 1e-3, "weight_decay": 0.1, "clip": 0.5, "warmup": 0.2}
    found = told(optimizer="adafactor", schedule="constant", checkpointing=True, **given)
    assert (found.optim, found.lr_scheduler_type) == ("adafactor", "constant_with_warmup")
    assert (found.learning_rate, found.weight_decay, found.max_grad_norm) == (1e-3, 0.1, 0.5)
    assert found.warmup_steps == 0.2
    assert found.gradient_checkpointing
    assert told(optimizer="adamw_8bit", schedule="linear").optim == "adamw_bnb_8bit"
    assert told(bf16=True).bf16
    assert told(bf16=True).model_init_kwargs == {"dtype": "bfloat16"}
    assert told(bf16=True, method="full").model_init_kwargs == {"dtype": "float32"}
    found = told(batch=16, device_batch=4)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (4, 4)


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "adafactor", "checkpointing": True, "bf16": True, "loss": "all"},
        soaked({"optimizer": "adamw_8bit", "schedule": "constant", "warmup": 0.5}),
    ],
)
def test_options_of_the_optimizer_and_of_numbers_train(
    tmp_path: Path, base: Path, more: dict[str, Any]
) -> None:
    found, told = train(tmp_path, base, max_steps=12, learning_rate=2e-3, **more)
    losses = held_out_losses(tmp_path)
    assert losses[-1] < losses[0]
    verdicts = next(one["verdicts"] for one in told if "verdicts" in one)
    if more.get("loss") == "all":
        assert all(tokens - 1 == learned for _, _, tokens, learned in verdicts)
    assert found["steps"] == 12


def test_the_base_made_for_a_run_reads_no_row_that_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    make, rows = tiny.make_tokenizer, sums(20)
    monkeypatch.setattr(
        tiny, "make_tokenizer", lambda texts, size: read.append(texts) or make(texts, size)
    )
    monkeypatch.setattr(tiny, "train", lambda model, answers, **_: read.append(answers))
    sft._tiny(Job(None, tmp_path, tmp_path, settings(), 1), rows, lambda said: None)
    trained = [row["turns"] for row in rows if not row["held_out"]]
    assert read[0] == [turn["content"] for turns in trained for turn in turns]
    assert len(read[1]) == len(trained) == 18


def test_a_checkpoint_that_a_kill_cut_off_is_not_gone_on_from(tmp_path: Path, base: Path) -> None:
    half = tmp_path / "out" / "checkpoints" / "checkpoint-3"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    cut = half.with_name("checkpoint-2")
    cut.mkdir()
    (cut / "trainer_state.json").write_text('{"global_step": 2, "log_hist')
    found, told = train(tmp_path, base)
    assert found["steps"] == 4
    assert [one["step"] for one in told if "step" in one] == [1, 2, 3, 4]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_curve_is_cut_by_the_first_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    class Begun:
        def train(self) -> None:
            """It begins from the start: there is no checkpoint."""

    curve = tmp_path / "metrics.jsonl"
    curve.write_text('{"step": 0, "loss": 2}\n{"step": 1, "loss": 1}\n{"step": 2, "lo')
    before = curve.read_text()
    monkeypatch.setattr(sharing, "is_first", lambda: is_first)
    sft._go_on(Begun(), settings(), tmp_path / "checkpoints", curve, 4)
    assert curve.read_text() == ('{"step": 0, "loss": 2}\n' if is_first else before)
    assert list(tmp_path.iterdir()) == [curve]
