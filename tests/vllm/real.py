"""Runs that are served by real vLLM, over a small model with weights drawn at random."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.train import tiny
from tests.security.command import ROOT, environment, line
from tests.vllm.serving import Serving

NAMED = os.environ.get("SYNTH_VLLM_PYTHON", "")
PYTHON = Path(NAMED).absolute() if NAMED else None
"""The interpreter that has vLLM; links are left alone, a virtual environment is one."""
LONGEST_S = 600.0
"""How long a run may take: a server starts within 25 to 90 s, on a machine that others use."""
SIZE = tiny.Size(vocabulary=512, width=128, layers=2, context=4096)
VARIABLES = {
    "OMP_NUM_THREADS": "1",  # small models are slower with more
    "TORCH_COMPILE_DISABLE": "1",  # or the first log-probabilities wait for a C++ compiler
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
OPTIONS = (
    "{enforce_eager: true, structured_outputs_config: "
    "{backend: guidance, disable_any_whitespace: true}}"
)
"""Without the last, a model that knows nothing writes line breaks for ever between two fields."""


TEACHER = ("teacher",)


def make_model(folder: Path, size: tiny.Size = SIZE) -> Path:
    """A model whose vocabulary is that of our own prompts, in a folder."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "prompts").glob("*.md"))]
    tokenizer = tiny.make_tokenizer(texts, size)
    tiny.save(folder, tiny.make_model(tokenizer, size, seed=5), tokenizer)
    return folder


def change_config(folder: Path, **changed: Any) -> None:
    """Have a model's folder say something else of it."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changed))


def settings(*roles: str) -> list[str]:
    """The settings with which a server works on a processor, for each role."""
    return [
        f"{role}.vllm.{one}"
        for role in roles
        for one in (f"python={PYTHON}", "dtype=float32", f"options={OPTIONS}")
    ]


class Running:
    """`synth run` as a process of its own, in `folder/run`; what it says is in `folder/said`."""

    def __init__(
        self,
        folder: Path,
        recipe: str,
        model: Path,
        *more: str,
        roles: Sequence[str] = TEACHER,
    ) -> None:
        self.serving = Serving(folder, {})
        self.path = folder / "said"
        out = str(self.serving.run)
        sets = [part for one in settings(*roles) for part in ("--set", one)]
        asked = [part for role in roles for part in (f"--{role}", f"vllm:{model}")]
        with self.path.open("ab") as said:
            self.process = subprocess.Popen(
                line("run", recipe, "--out", out, *asked, *sets, *more),
                env=environment(**VARIABLES),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=folder,
            )

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return self.path.read_text(encoding="utf-8")

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code and what it said."""
        try:
            return self.process.wait(LONGEST_S), self.said
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so, while it runs."""
        until = time.monotonic() + LONGEST_S
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(self.said)
            time.sleep(0.05)

    def engine(self) -> int:
        """The id of the process of vLLM's engine."""
        found = self.serving.left().items()
        (engine,) = [pid for pid, words in found if words.startswith("VLLM::EngineCore")]
        return engine


def metrics_url(run: Path) -> str | None:
    """Where the one server of a run tells its numbers, null while there is none."""
    for words in Serving(run.parent, {}).left().values():
        if "api_server" in words and "keeper.py" not in words:
            parts = words.split()
            return f"http://127.0.0.1:{parts[parts.index('--port') + 1]}/metrics"
    return None


def requests_served(run: Path) -> int:
    """How many requests the one server of a run says that it has answered, however they ended."""
    url = metrics_url(run)
    assert url is not None, f"{run} has no server"
    with urllib.request.urlopen(url, timeout=30) as page:
        lines = page.read().decode().splitlines()
    named = [one for one in lines if one.startswith("vllm:request_success_total")]
    return round(sum(float(one.rpartition(" ")[2]) for one in named))
