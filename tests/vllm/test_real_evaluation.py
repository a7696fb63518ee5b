"""An evaluation that real vLLM answers, with an adapter loaded: `make vllm-test`."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft", reason="needs the extra 'train'")
pytest.importorskip("sacrebleu", reason="needs the extra 'evaluate'")

from tests.run import books
from tests.security.command import synth
from tests.vllm import real
from tests.vllm.real import PYTHON

pytestmark = [
    pytest.mark.skipif(
        PYTHON is None, reason="SYNTH_VLLM_PYTHON names no interpreter with vLLM: make vllm-test"
    ),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
]
RANK = 20
"""More than vLLM makes room for where nobody says."""


def make_adapter(folder: Path, base: Path, seed: int) -> Path:
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=RANK, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model: Any = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder


def test_vllm_with_the_adapters_loaded_writes_what_transformers_writes(tmp_path: Path) -> None:
    base = real.make_model(tmp_path / "base")
    adapters = [make_adapter(tmp_path / name, base, seed) for seed, name in enumerate("ab")]
    rows = tmp_path / "rows.jsonl"
    texts = [f"Write {'very ' * n}short lines about <|im_end|> the sea." for n in range(12)]
    rows.write_text(
        "".join(json.dumps({"instruction": one, "output": "The sea."}) + "\n" for one in texts)
    )
    sets = [f"base={base}", f"adapter={adapters[0]}", f"other={adapters[1]}", "max_tokens=24"]
    of_server = [
        f"vllm.python={PYTHON}",
        "vllm.dtype=float32",
        "vllm.options={enforce_eager: true}",
    ]
    found = {}
    for name, more in (("vllm", of_server), ("transformers", [])):
        given = [part for one in (*sets, *more) for part in ("--set", f"evaluate.{one}")]
        out = tmp_path / name
        command = ("run", "evaluate", "--input", str(rows), "--out", str(out), *given)
        done = synth(*command, timeout=real.LONGEST_S, variables=real.VARIABLES)
        assert done.returncode == 0, done.stderr
        found[name] = [row["evaluations"] for row in books.rows(out, "evaluate")]
        assert not (out / "evaluation" / "work").exists()
    assert found["vllm"] == found["transformers"], "texts, how they ended, and all measures"
    answers = [[one["answer"] for one in row] for row in found["vllm"]]
    assert any(len(set(row)) == 3 for row in answers), "base and both adapters say other things"
