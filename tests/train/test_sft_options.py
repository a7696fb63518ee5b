"""Options of a fine-tuning for real, on the processor: adapters of our own, stopping, phases."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from trl.trainer.sft_config import SFTConfig

from pipeline.errors import InputError
from pipeline.train import bottleneck, sft_child, sharing
from pipeline.train.encoding import Encoded
from pipeline.train.groups import Stopping
from pipeline.train.plain import Pieces, check, documents
from pipeline.train.plan import Example, planned
from pipeline.train.settings import METHODS, MOST_BITS, Config
from pipeline.train.sft import Job, run
from pipeline.train.stopping import has_stalled
from tests.soaked import soaked
from tests.train.test_sft import held_out_losses, loaded, logits, settings, sums, train, write

STOPPED = ("lora", "adalora")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has read the answers, shared by all trainings."""
    folder = tmp_path_factory.mktemp("base")
    job = Job(None, write(folder / "rows.parquet", sums(80)), folder / "out", settings(), 1)
    run(job, lambda said: None)
    return folder / "out" / "base"


class Killed(BaseException):
    """Ends a training where a kill would, without a new process for each."""


def killed_and_gone_on_with(
    folder: Path, base: Path, rows: list[dict[str, Any]] | None = None, *, at: int, **more: Any
) -> dict[str, Any]:
    """What came of a training that was ended after step `at`, and started again."""
    folder.mkdir()
    path = write(folder / "rows.parquet", rows if rows is not None else sums(80))
    job = Job(base, path, folder / "out", settings(**more), 1)

    def tell(said: dict[str, Any]) -> None:
        if said.get("step") == at:
            raise Killed

    with pytest.raises(Killed):
        run(job, tell)
    assert list((folder / "out" / "checkpoints").iterdir())
    told: list[dict[str, Any]] = []
    run(job, told.append)
    assert next(said["step"] for said in told if "step" in said) > 1, "it went on"
    found: dict[str, Any] = told[-1]["done"]
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two trainings came out the same, but for the order of sums."""
    return one.keys() == other.keys() and all(
        value == other[name] or abs(value - other[name]) < 1e-6 for name, value in one.items()
    )


@pytest.mark.parametrize("form", ["serial", "parallel"])
def test_a_bottleneck_adds_what_its_paper_says(form: str, base: Path) -> None:
    model = loaded(base)
    shape = bottleneck.Shape(form, 8, "relu", 4.0, ("mlp",), layers=(1,))
    given = torch.randn(2, 5, 64)
    layer = model.model.layers[1].mlp
    alone = layer(given)
    bottleneck.insert(model, shape)
    assert torch.equal(layer(given), alone), "it begins as nothing"
    adapter = layer.bottleneck
    torch.nn.init.normal_(adapter.up.weight)
    torch.nn.init.normal_(adapter.up.bias)
    seen = given if form == "parallel" else alone
    narrow = torch.clamp(seen @ adapter.down.weight.T + adapter.down.bias, min=0)
    expected = alone + 4.0 * (narrow @ adapter.up.weight.T + adapter.up.bias)
    assert (layer(given) - expected).abs().max() < 1e-5
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained == set(bottleneck.weights(model))
    assert len(trained) == 4


@pytest.mark.parametrize(
    "more",
    [
        {"method": "bottleneck", "checkpointing": True},
        {"method": "bottleneck_parallel", "bottleneck": {"width": 8}, "packing": True},
    ],
    ids=["serial", "parallel"],
)
def test_bottlenecks_are_saved_apart_from_the_base_and_loaded_again(
    tmp_path: Path, base: Path, more: dict[str, Any]
) -> None:
    found, _ = train(tmp_path / "whole", base, save_every=2, **more)
    folder = tmp_path / "whole" / "out" / "adapter"
    assert not list(folder.glob("model*")), "the base is not in it once more"
    told = json.loads((folder / "bottleneck_config.json").read_text())
    assert told["base_model_name_or_path"] == str(base)
    model = bottleneck.load(base, folder)
    assert sum(one.numel() for one in bottleneck.weights(model).values()) == found["trainable"]
    assert (logits(model) - logits(loaded(base))).abs().max() > 1e-4
    again = killed_and_gone_on_with(tmp_path / "again", base, at=3, save_every=2, **more)
    assert same(found, again)
    other = bottleneck.load(base, tmp_path / "again" / "out" / "adapter")
    assert (logits(model) - logits(other)).abs().max() < 1e-5


def test_bottlenecks_of_another_base_are_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(InputError, match=r"has no bottleneck_config\.json"):
        bottleneck.load(base, tmp_path)
    model = loaded(base)
    bottleneck.insert(model, bottleneck.Shape("serial", 8, "gelu", 1.0, ("mlp",)))
    bottleneck.save(model, tmp_path, base="another")
    told = json.loads((tmp_path / "bottleneck_config.json").read_text())
    (tmp_path / "bottleneck_config.json").write_text(json.dumps(told | {"width": 9}))
    with pytest.raises(InputError, match="of another base, or of another shape"):
        bottleneck.load(base, tmp_path)
    with pytest.raises(InputError, match=r"has 2 layers, from 0, and sft\.layers names 2"):
        bottleneck.insert(
            loaded(base), bottleneck.Shape("serial", 8, "gelu", 1.0, ("mlp",), 0, (2,))
        )
    with pytest.raises(InputError, match="have no layers of names that are known"):
        bottleneck.insert(torch.nn.Linear(2, 2), bottleneck.Shape("serial", 8, "gelu", 1.0, ()))


MISLED = {"max_steps": 20, "learning_rate": 0.02, "stopping": {"patience": 2, "every": 2}}


def misleading() -> list[dict[str, Any]]:
    """Rows by which those held out get worse the longer they are learned."""
    rows = sums(80)
    for row in rows:
        if not row["held_out"]:
            row["turns"][1]["content"] = "zzz " * 8
    return rows


@pytest.mark.parametrize("method", [soaked(one, one not in STOPPED) for one in METHODS])
def test_what_comes_out_of_a_stopped_training_is_its_best_measurement(
    tmp_path: Path, base: Path, method: str
) -> None:
    more = MISLED | {"method": method} | ({"learning_rate": 1.0} if method == "prompt" else {})
    found, told = train(tmp_path / "whole", base, misleading(), **more)
    losses = held_out_losses(tmp_path / "whole")
    assert found["steps"] < 20
    assert losses[-1] == pytest.approx(min(losses[:-1]), abs=1e-5), "measured again at the end"
    assert len(losses) - 2 - losses.index(min(losses)) == 2, "two no better, and it ended"
    said = [str(one["said"]) for one in told if "said" in one]
    assert any(f"ended after step {found['steps']} of 20" in one for one in said)
    for at in (3, found["steps"]) if method in ("lora", "adalora") else (found["steps"],):
        folder = tmp_path / f"at-{at}"
        again = killed_and_gone_on_with(folder, base, misleading(), at=at, **more)
        assert same(found, again)
        assert held_out_losses(folder) == pytest.approx(losses, abs=1e-6)


@given(
    st.lists(st.floats(0, 10).map(lambda one: round(one, 1)), max_size=12),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5]),
)
def test_a_training_has_stalled_once_so_many_measurements_were_no_better(
    losses: list[float], patience: int, least: float
) -> None:
    expected = False
    best = float("inf")
    for at, loss in enumerate(losses):
        if loss < best - least:
            best = loss
            expected = False
        elif at + 1 == len(losses):
            last = losses[-patience:]
            before = losses[: len(losses) - len(last)]
            expected = bool(before) and len(last) == patience
            kept = float("inf")
            for one in before:
                kept = one if one < kept - least else kept
            expected = expected and all(one >= kept - least for one in last)
    log = [{"eval_loss": loss} for loss in losses]
    assert has_stalled(log, Stopping(patience=patience, least=least)) == expected


def test_data_that_holds_more_than_the_weights_can_is_told(tmp_path: Path, base: Path) -> None:
    few, told = train(tmp_path / "few", base, r=1, layers="0", targets=["k_proj"], max_steps=20)
    assert few["bits_a_parameter"] > MOST_BITS
    said = [str(one["said"]) for one in told if "said" in one]
    assert any("more than the 2 or so that one can hold" in one for one in said)
    text = (tmp_path / "few" / "out" / "metrics.jsonl").read_text()
    curve = [json.loads(line) for line in text.splitlines()]
    logged = [(one["step"], one["loss"]) for one in curve if "loss" in one and one["step"] <= 9]
    assert [step for step, _ in logged] == [1, 9], "the first epoch has 9 steps"
    nats = (logged[0][1] + 8 * logged[1][1]) / 9 * few["learned_tokens"]
    assert few["bits_a_parameter"] * few["trainable"] == pytest.approx(nats / 0.6931472, rel=1e-5)
    many, told = train(tmp_path / "many", base, max_steps=20)
    assert many["bits_a_parameter"] < MOST_BITS
    assert not [one for one in told if "can hold" in str(one.get("said"))]


def ids(told: list[dict[str, Any]]) -> list[str]:
    return [str(one["said"]) for one in told if "said" in one]


def unbound(**more: Any) -> Config:
    """Settings under which the epochs say how long a training is."""
    return settings(max_steps=None, **more)


def shown(rows: list[Example], config: Config, seed: int = 1) -> list[int]:
    order = planned(rows, config, seed).order
    assert order is not None
    return order


def example(place: float | None, tokens: int = 4, **more: Any) -> Example:
    return Example(Encoded(list(range(tokens)), [-100, *range(1, tokens)]), place, **more)


@given(
    st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=20),
    st.booleans(),
    st.integers(1, 3),
)
def test_a_curriculum_goes_from_easy_to_hard_in_every_epoch(
    places: list[int | None], descending: bool, epochs: int
) -> None:
    rows = [example(place) for place in places]
    by = {"by": "rating", "descending": descending}
    order = shown(rows, unbound(curriculum=by, epochs=epochs))
    assert order == shown(rows, unbound(curriculum=by, epochs=epochs)), "the same each time"
    assert len(order) == epochs * len(rows)
    for epoch in range(epochs):
        mine = order[epoch * len(rows) : (epoch + 1) * len(rows)]
        assert sorted(mine) == list(range(len(rows)))
        seen = [places[at] for at in mine]
        numbers = [place for place in seen if place is not None]
        assert numbers == sorted(numbers, reverse=descending)
        assert seen == numbers + [None] * (len(seen) - len(numbers)), "those without are last"


def test_phases_draw_their_rows_by_share_and_cap() -> None:
    rows = [example(None, phases=(0,) if at % 2 else (0, 1)) for at in range(40)]
    phases = [{"cap": 7, "epochs": 2}, {"share": 0.5, "epochs": 1}, {"where": {"task_type": ["x"]}}]
    with pytest.raises(InputError, match=r"phase 3 shows no row .* none has task_type x"):
        shown(rows, unbound(phases=phases))
    order = shown(rows, unbound(phases=phases[:2]))
    assert len(order) == 2 * 7 + 10
    assert sorted(order[:7]) == sorted(order[7:14])
    assert order[:7] != order[7:14], "another order in each epoch"
    assert all(at % 2 == 0 for at in order[14:])
    assert len(set(order[14:])) == 10
    plan = planned(rows, unbound(phases=[{"epochs": 1, "learning_rate": 1e-4}, {"epochs": 1}]), 1)
    assert plan.step_rates(8) == [0.5] * 5 + [1.0] * 3
    assert sum(plan.first_seen(8, 8)) == 40 * 3


def test_packs_learn_each_token_of_a_row_for_the_first_time_once() -> None:
    rows = [example(None, copies=copies) for copies in (1, 3, 1)]
    plan = planned(rows, unbound(packing=True), 1)
    plan.packs = 5
    assert plan.first_seen(2, 9) == pytest.approx([3.6, 3.6, 1.8]), "three rows of three tokens"
    assert plan.first_seen(2, 2) == pytest.approx([3.6, 3.6])


def test_a_row_that_repeats_in_a_mixture_is_learned_so_often() -> None:
    rows = [example(0.0, copies=copies) for copies in (1, 3, 0)]
    assert sorted(shown(rows, unbound(epochs=1))) == [0, 1, 1, 1]
    plain = planned([example(None, copies=copies) for copies in (1, 3, 0)], unbound(), 1)
    assert plain.order is not None
    assert sorted(plain.order) == [0, 0, 0, *[1] * 9], "in each of three epochs"


@pytest.mark.parametrize(("rows", "epochs", "filled"), [(9, 1.0, 7), (8, 1.0, 0), (3, 1.0, 5)])
def test_the_last_step_is_as_large_as_the_others(rows: int, epochs: float, filled: int) -> None:
    plan = planned([example(None) for _ in range(rows)], unbound(epochs=epochs), 1)
    before = list(plan.order or ())
    assert plan.steps(8, None) == (rows + 7) // 8
    assert plan.order is not None
    assert plan.order[: len(before)] == before
    assert len(plan.order) == len(before) + filled == len(plan.rates)
    if rows > 8:
        assert len(set(plan.order[8:])) == 8, "none twice in a step"


def test_rows_in_an_order_are_not_packed() -> None:
    with pytest.raises(InputError, match=r"leave sft\.packing off"):
        planned([example(1.0)], settings(packing=True), 1)


TEXTS = [f"Number {n} is what comes after {n - 1}, and before {n + 1}." for n in range(50)]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "txt"])
def test_plain_text_has_its_share_of_the_tokens(tmp_path: Path, base: Path, form: str) -> None:
    path = tmp_path / f"plain.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"text": [*TEXTS, None, " "]}), path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    else:
        path.write_text("\n\n".join(TEXTS))
    assert documents(path) == TEXTS
    check(path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    pieces = Pieces(tokenizer, documents(path), 16, seed=1)
    rows = [example(None, tokens=100) for _ in range(9)]
    given = unbound(epochs=1, plain={"file": str(path), "share": 0.1})
    plan = planned(rows, given, 1, pieces)
    assert plan.plain_tokens == sum(len(one.ids) for one in pieces.examples)
    assert 100 <= plan.plain_tokens < 116, "a tenth of all tokens, but for the last piece"
    assert all(one.labels == one.ids for one in pieces.examples)
    assert any(one.ids[-1] == tokenizer.eos_token_id for one in pieces.examples)
    assert plan.plain_shown(9, 1) < plan.plain_shown(9, 2) == plan.plain_tokens, "what is shown"
    assert not plan.said
    more = planned(rows, unbound(epochs=1, plain={"file": str(path), "share": 0.9}), 1,
                   Pieces(tokenizer, TEXTS[:2], 16, seed=1))  # fmt: skip
    assert "There is less plain text" in more.said[0]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("none.txt", None, "cannot be read"),
        ("empty.txt", "", "holds no document"),
        ("wrong.jsonl", '{"body": "x"}', "has no text in a column 'text'; it has body"),
        ("list.jsonl", "[1]", "has no text in a column 'text'"),
        ("broken.jsonl", "{", "cannot be read"),
        ("broken.parquet", "x", "is no Parquet file"),
        ("empty.jsonl", "\n", "holds no document"),
        ("blank.txt", " \n\n", "holds no document"),
    ],
)
def test_plain_text_that_is_none(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    for look in (check, documents):
        with pytest.raises(InputError, match=told):
            look(path)


def test_a_column_of_plain_text_holds_text(tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"text": [1, 2]}), path)
    for look in (check, documents):
        with pytest.raises(InputError, match="no text in its column 'text', but int64"):
            look(path)


def test_a_line_of_plain_text_ends_at_a_line_feed_alone(tmp_path: Path) -> None:
    texts = ["one\u2028line", "a\x0bsecond\x85of them"]
    path = tmp_path / "plain.jsonl"
    path.write_text(
        "\n" + "".join(json.dumps({"text": one}, ensure_ascii=False) + "\n" for one in texts)
    )
    check(path)
    assert documents(path) == texts


def test_an_annealing_phase_goes_on_after_a_kill_with_the_rows_that_were_left(
    tmp_path: Path, base: Path
) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\n\n".join(TEXTS))
    more = {
        "plain": {"file": str(path)},
        "phases": [{"plain": 0.5, "epochs": 0.5, "learning_rate": 1e-3}, {"plain": 0, "epochs": 1}],
        "curriculum": {"by": "rating"},
        "max_steps": None,
        "save_every": 2,
    }
    rows = [dict(row, curriculum=number % 7, phases=[0, 1]) for number, row in enumerate(sums(80))]
    found, told = train(tmp_path / "whole", base, rows, **more)
    assert any("Phase 1 shows 36 times a row (36 rows) and" in said for said in ids(told))
    assert any("learning rate 0.001" in said for said in ids(told))
    assert found["plain_tokens"] > 0
    text = (tmp_path / "whole" / "out" / "metrics.jsonl").read_text()
    rates = [json.loads(line).get("learning_rate") for line in text.splitlines()]
    again = killed_and_gone_on_with(tmp_path / "again", base, rows, at=5, **more)
    assert same(found, again)
    assert max(rate for rate in rates if rate) > 2e-4, "the first phase learns faster"


def test_two_processes_train_what_one_does(tmp_path: Path, base: Path) -> None:
    more = {"max_steps": 12, "save_every": 4, "validation": 0.2}
    rows = [dict(row, held_out=False) for row in sums(45)]
    one, _ = train(tmp_path / "one", base, rows, **more)
    (tmp_path / "two").mkdir()
    given = {
        "base": str(base),
        "named": None,
        "rows": str(tmp_path / "one" / "rows.parquet"),
        "out": str(tmp_path / "two"),
        "config": settings(**more, processes=2).model_dump(mode="json"),
        "seed": 1,
    }
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch",
         *sft_child.command(sft_child.write(given), 2)],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(sft_child.__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [said["step"] for said in told if "step" in said] == list(range(1, 13)), "one tells"
    outcome = json.loads((tmp_path / "two" / "outcome.json").read_text())
    assert outcome == [said for said in told if "step" not in said]
    two = outcome[-1]["done"]
    assert two.keys() == one.keys()
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    curves = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "one" / "out", tmp_path / "two")
    ]
    losses = [[(at["step"], at["loss"]) for at in curve if "loss" in at] for curve in curves]
    assert [step for step, _ in losses[0]] == [step for step, _ in losses[1]], "one writes"
    both = zip(losses[0], losses[1], strict=True)
    assert all(abs(a - b) < 1e-4 for (_, a), (_, b) in both)
    apart = [
        loaded(base, folder / "adapter") for folder in (tmp_path / "one/out", tmp_path / "two")
    ]
    assert (logits(apart[0]) - logits(apart[1])).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"distributed": {"strategy": "fsdp"}}, "strategy=fsdp needs GPUs"),
        ({"distributed": {"strategy": "deepspeed", "deepspeed": {"zero": 1}}}, "needs GPUs"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_gpus_is_refused_before_a_weight_is_loaded(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        train(tmp_path, tmp_path / "no base", **more)


def test_settings_of_several_processes_are_handed_on() -> None:
    group: dict[str, Any] = {"ddp": {"timeout": 60, "bucket_cap_mb": 25}}
    told = sharing.arguments(settings(distributed=group))
    assert told == {"ddp_timeout": 60, "ddp_bucket_cap_mb": 25}
    assert told.keys() <= SFTConfig.__dataclass_fields__.keys()
    fsdp = {"version": 2, "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}
    told = sharing.arguments(settings(distributed={"strategy": "fsdp", "fsdp": fsdp}))
    assert told == {"fsdp": True, "fsdp_config": fsdp}
    assert told.keys() <= SFTConfig.__dataclass_fields__.keys()


def test_rows_of_a_step_are_shared_out_evenly() -> None:
    assert sharing.device_batch(settings(batch=16, device_batch=8), 1) == 8
    assert sharing.device_batch(settings(batch=16, device_batch=8), 4) == 4
    with pytest.raises(InputError, match="is no multiple of 3 rows in each of 5 processes"):
        sharing.device_batch(settings(batch=16), 5)
