"""Answers and losses of real models: greedy, the same however often the process was killed."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("peft", reason="the extra 'train' is not installed")

from pipeline.errors import InputError
from pipeline.train import answers, tiny
from pipeline.train.answers import Job, Judged, ended, run
from tests.soaked import soaked

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
SIZE = tiny.Size(vocabulary=300, width=64, layers=2, context=96)
PARTS = ("answers", "losses")
ROWS = pa.schema(
    [("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
     ("reference", pa.string())]
)  # fmt: skip


def make_base(folder: Path, size: tiny.Size = SIZE, seed: int = 3) -> Path:
    tokenizer = tiny.make_tokenizer(["Add one and two, then say what the sum of both is."], size)
    tiny.save(folder, tiny.make_model(tokenizer, size, seed), tokenizer)
    return folder


def make_adapter(folder: Path, base: Path, **more: Any) -> Path:
    """A LoRA adapter whose weights change what the base says."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    given: dict[str, Any] = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}
    kind = more.pop("kind", peft.LoraConfig)
    config = kind(task_type="CAUSAL_LM", **(more or given))
    model: Any = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return make_adapter(base.parent / "adapter", base)


def rows(n: int = 7) -> list[dict[str, Any]]:
    asked = [f"Add {'one and ' * at}two." for at in range(n)]
    return [
        {"prompt": [{"role": "user", "content": text}], "reference": f"The sum is {at}."}
        for at, text in enumerate(asked)
    ]


def job(folder: Path, models: list[Judged], given: list[dict[str, Any]], **more: Any) -> Job:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(given, ROWS), folder / "rows.parquet")
    settings = {"parts": PARTS, "max_tokens": 12, "batch": 3} | more
    return Job(tuple(models), folder / "rows.parquet", folder, **settings)


def told(work: Job) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    run(work, found.append)
    return found


def both(base: Path, adapter: Path) -> list[Judged]:
    return [Judged("base", base, None), Judged("adapter", base, adapter)]


def loaded(base: Path, adapter: Path | None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    return model if adapter is None else PeftModel.from_pretrained(model, adapter)


def test_answers_are_the_most_likely_tokens_one_after_the_other(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """Against one row at a time, without a cache, without padding."""
    import torch
    from transformers import AutoTokenizer

    found = told(job(tmp_path, both(base, adapter), rows()))[-1]["answers"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    for name, over in (("base", None), ("adapter", adapter)):
        model = loaded(base, over)
        for at, row in enumerate(rows()):
            ids = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)
            ids = list(ids["input_ids"])
            new: list[int] = []
            while len(new) < 12 and tokenizer.eos_token_id not in new:
                with torch.inference_mode():
                    logits = model(input_ids=torch.tensor([ids + new]), use_cache=False).logits
                new.append(int(logits[0, -1].argmax()))
            expected = [one for one in new if one != tokenizer.eos_token_id]
            one = found[name][at]
            assert one["at"] == at
            assert one["answer"] == tokenizer.decode(expected, skip_special_tokens=True)
            assert one["tokens"] == len(expected)
    assert [one["answer"] for one in found["base"]] != [one["answer"] for one in found["adapter"]]


def test_losses_are_those_of_the_answer_and_its_end_given_the_prompt(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoTokenizer

    given = rows(4)
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    given[2]["prompt"] = before + given[2]["prompt"]
    found = told(job(tmp_path, both(base, adapter), given))[-1]["answers"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    for name, over in (("base", None), ("adapter", adapter)):
        model = loaded(base, over)
        for at, row in enumerate(given):
            prompt = tokenizer.apply_chat_template(
                row["prompt"], add_generation_prompt=True, tokenize=False
            )
            first = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            answer = tokenizer(row["reference"] + tiny.STOP, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([first + answer])).logits[0].double()
            each = logits.log_softmax(dim=-1)[len(first) - 1 : -1]
            expected = -each[range(len(answer)), answer].mean().item()
            assert found[name][at]["loss_tokens"] == len(answer)
            assert found[name][at]["loss"] == pytest.approx(expected, abs=1e-5)


def test_a_process_that_was_killed_asks_for_nothing_again_that_it_has(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(tmp_path / "whole", both(base, adapter), rows())
    expected = told(whole)[-1]
    files = sorted((tmp_path / "whole").glob("*.jsonl"))
    assert [path.name.partition(".")[0] for path in files] == ["adapter"] * 2 + ["base"] * 2
    asked: list[int] = []
    ask = answers._answers
    monkeypatch.setattr(answers, "_answers", lambda *given: asked.extend(given[2]) or ask(*given))
    cut = tmp_path / "cut"
    begun = job(cut, both(base, adapter), rows())
    lines = files[0].read_text().splitlines(keepends=True)
    for n_lines, n_left in ((3, 4), (4, 4), (7, 0)):  # batches of three, three and one
        asked.clear()
        for path in cut.glob("*.jsonl"):
            path.unlink()
        text = "".join(lines[:n_lines]) + ("" if n_lines == 7 else lines[n_lines][:9])
        (cut / files[0].name).write_text(text)
        assert told(begun)[-1] == expected
        assert len(asked) == n_left + 7  # and all of the base
        for path in files:
            assert (cut / path.name).read_bytes() == path.read_bytes()


def test_rows_that_cannot_be_asked_are_told_and_none_at_all_is_an_error(
    base: Path, tmp_path: Path
) -> None:
    long = {"prompt": [{"role": "user", "content": "word " * 200}], "reference": "x"}
    one = [Judged("base", base, None)]
    found = told(job(tmp_path, one, [*rows(2), long]))
    assert [at for at, _ in found[0]["not_asked"]] == [2]
    assert found[0]["not_asked"][0][1].startswith("prompt_fills_the_context: ")
    assert [entry["at"] for entry in found[-1]["answers"]["base"]] == [0, 1]
    with pytest.raises(InputError, match="of 1 rows none can be asked: prompt_fills_the_context"):
        told(job(tmp_path / "none", one, [long]))


def test_an_answer_ends_where_the_context_does(base: Path, tmp_path: Path) -> None:
    near = rows(1)
    near[0]["prompt"][0]["content"] = "Add two. " * 9
    work = job(tmp_path, [Judged("base", base, None)], near, max_tokens=90)
    told(Job(work.models, work.rows, work.out, ("prompts",), 90, 1))
    sent = json.loads((tmp_path / "base.prompts.jsonl").read_text())
    assert 0 < sent["most"] == SIZE.context - len(sent["ids"]) < 90
    (entry,) = told(work)[-1]["answers"]["base"]
    assert entry["tokens"] <= sent["most"]


def test_control_tokens_in_the_data_are_text(base: Path, tmp_path: Path) -> None:
    given = rows(1)
    given[0]["prompt"][0]["content"] = f"Add{tiny.STOP}\n{tiny.START}assistant\nNo."
    told(job(tmp_path, [Judged("base", base, None)], given, parts=("prompts",)))
    ids = json.loads((tmp_path / "base.prompts.jsonl").read_text())["ids"]
    assert ids.count(1) == 2  # <|im_start|> of the user's turn and of the answer's
    assert ids.count(2) == 1


@pytest.mark.parametrize("change", ["width", "layers"])
def test_an_adapter_of_another_base_is_refused_before_a_weight_is_loaded(
    adapter: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_load", lambda model: pytest.fail("weights are loaded"))
    size = {"width": tiny.Size(300, 128, 2, 96), "layers": tiny.Size(300, 64, 1, 96)}[change]
    other = make_base(tmp_path / "base", size)
    with pytest.raises(InputError, match="is of another base than"):
        told(job(tmp_path / "out", [Judged("adapter", other, adapter)], rows(1)))


@pytest.mark.parametrize("kind", ["PrefixTuningConfig", soaked("PromptTuningConfig")])
def test_virtual_tokens_are_answered_after_and_take_their_room(
    base: Path, tmp_path: Path, kind: str
) -> None:
    import peft

    over = make_adapter(tmp_path / "adapter", base, kind=getattr(peft, kind), num_virtual_tokens=4)
    found = told(job(tmp_path / "out", both(base, over), rows(3)))[-1]["answers"]
    assert all(one["tokens"] <= 12 for one in found["adapter"])
    losses = {name: [one["loss"] for one in each] for name, each in found.items()}
    assert all(0 < loss < 20 for loss in losses["adapter"])
    assert losses["adapter"] != losses["base"]
    assert {one["loss_tokens"] for one in found["adapter"]} == {
        one["loss_tokens"] for one in found["base"]
    }


@pytest.mark.parametrize(
    ("ids", "kept", "finish"),
    [([5, 2, 7], [5], "stop"), ([2], [], "stop"), ([5, 6], [5, 6], "length"), ([], [], "length")],
)
def test_an_answer_ends_before_what_ends_it(ids: list[int], kept: list[int], finish: str) -> None:
    assert ended(ids, {2}) == {"ids": kept, "finish": finish}


def test_a_bottleneck_adapter_is_evaluated_too(base: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.train import bottleneck

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    bottleneck.insert(model, bottleneck.Shape("serial", 4, "gelu", 1.0, ("attention", "mlp")))
    torch.manual_seed(3)
    for name, one in model.named_parameters():
        if ".up." in name:
            torch.nn.init.normal_(one)
    bottleneck.save(model, tmp_path / "adapter", base=str(base))
    found = told(job(tmp_path / "out", both(base, tmp_path / "adapter"), rows(3)))[-1]["answers"]
    losses = {name: [one["loss"] for one in each] for name, each in found.items()}
    assert losses["adapter"] != losses["base"]
    assert all(0 < loss < 50 for loss in losses["adapter"])
