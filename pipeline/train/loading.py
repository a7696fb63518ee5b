"""What is said where a model's folder cannot be loaded, and how quiet the libraries are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import TeacherError
from pipeline.shortage import shortage
from pipeline.train.batching import first_line


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Read a model of `folder` in this block: what a library raises comes out as `TeacherError`.

    What the machine lacks (memory, threads, files) says nothing about the folder and stays as it
    is, so that the run ends with the exit code for that.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    except Exception as error:
        # no narrower class holds what comes: tokenizers raises Exception itself, safetensors and
        # huggingface_hub their own children of it, beside OSError, ValueError, KeyError and others
        if shortage(error):
            raise
        raise TeacherError(f"{folder} cannot be loaded: {first_line(error)}.") from error


def without_weights(base: Path) -> Any:  # noqa: ANN401 - a model of any kind
    """A base's layers by their names and shapes; no weight is loaded, and none has room."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with loading(base):
        described = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(described)  # type: ignore[no-untyped-call]
