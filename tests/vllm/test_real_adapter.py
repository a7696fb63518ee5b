"""An adapter that `synth run sft` made, served by real vLLM on a processor: `make vllm-test`."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the extra 'train'")

from pipeline.teacher.settings import VLLMSettings
from pipeline.teacher.vllm.command import Served
from tests.conftest import run_and_recount
from tests.vllm import real
from tests.vllm.real import PYTHON

pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="SYNTH_VLLM_PYTHON names no interpreter with vLLM: make vllm-test"
)

KEY = "a-key-of-this-test"
CLOSE = 1e-3
"""How far a log-probability may be from PEFT's: both compute in float32, in another order."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A server that has a base and its adapter, and where both are."""

    url: str
    base: Path
    adapter: Path

    def ask(self, kind: str, **body: Any) -> dict[str, Any]:
        """What it answers to one request."""
        request = urllib.request.Request(
            f"{self.url}/v1/{kind}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request, timeout=120) as page:
            found: dict[str, Any] = json.load(page)
        return found

    def logprobs(self, model: str, ids: list[int]) -> list[float]:
        """How likely each token but the first is after those before it."""
        reply = self.ask("completions", model=model, prompt=ids, max_tokens=1, prompt_logprobs=0)
        found = reply["choices"][0]["prompt_logprobs"]
        return [one[str(token)]["logprob"] for one, token in zip(found[1:], ids[1:], strict=True)]


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    folder = tmp_path_factory.mktemp("adapter")
    rows = folder / "rows.jsonl"
    given = [
        {"instruction": f"Add {n} and {n}.", "output": f"The sum is {2 * n}."} for n in range(60)
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in given))
    sets = ("sft.max_steps=40", "sft.learning_rate=0.01")  # so that base and adapter differ
    run_and_recount(folder / "run", *sets, recipe="sft", input=str(rows))
    base, adapter = folder / "run/model/base", folder / "run/model/adapter"
    options = {"enforce_eager": True, "max_model_len": 256}
    served = Served(
        "tuned",
        base,
        VLLMSettings.model_validate(
            {"python": str(PYTHON), "dtype": "float32", "lora_modules": {"tuned": str(adapter)},
             "max_model_len": options.pop("max_model_len"), "options": options}
        ),
        "teacher",
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "vllm.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            served.command(port),
            env=served.environment(KEY, real.VARIABLES),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    found = Answering(f"http://127.0.0.1:{port}", base, adapter)
    try:
        until = time.monotonic() + real.LONGEST_S
        while True:
            try:
                found.ask("models")
                break
            except urllib.error.URLError:
                assert process.poll() is None, log.read_text(errors="replace")[-3000:]
                assert time.monotonic() < until
                time.sleep(0.5)
        yield found
    finally:
        process.terminate()
        process.wait(60)


def of_peft(answering: Answering, ids: list[int], *, has_adapter: bool) -> list[float]:
    """The same by PEFT."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(answering.base)
    if has_adapter:
        model = PeftModel.from_pretrained(model, answering.adapter)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    return [float(logits[at, token]) for at, token in enumerate(ids[1:])]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize(
    "text", ["Add 7 and 8.", "Something else: 上海, naïve, and a number like 90210 in the text."]
)
def test_vllm_gives_the_log_probabilities_that_peft_gives(answering: Answering, text: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(answering.adapter)
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "The sum is 15."}]
    ids = tokenizer.apply_chat_template(turns)["input_ids"]
    assert len(ids) > 12
    tuned, base = answering.logprobs("tuned", ids), answering.logprobs("base", ids)
    assert tuned == pytest.approx(of_peft(answering, ids, has_adapter=True), abs=CLOSE)
    assert base == pytest.approx(of_peft(answering, ids, has_adapter=False), abs=CLOSE)
    differences = [abs(one - other) for one, other in zip(tuned, base, strict=True)]
    assert max(differences) > 100 * CLOSE, "the adapter is what was served"
