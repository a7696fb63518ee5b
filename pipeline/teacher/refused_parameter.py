"""Which parameter of a request a server refuses, and what to set instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.stage import Sampling


def refused_parameter(named: object, said: str, body: Mapping[str, Any]) -> str | None:
    """Which of the parameters that we sent a server complains about, if any.

    `named` is what it names by itself, `said` its message.
    """
    sent = [name for name in body if name not in ("model", "messages", "prompt", "input")]
    for name in sent:
        if name == named or f"'{name}'" in said:
            return name
    complains = ("unsupported", "not supported", "unknown", "unrecognized", "not permitted")
    if any(words in said.lower() for words in complains):
        return next((name for name in sent if re.search(rf"\b{re.escape(name)}\b", said)), None)
    return None


def what_to_set(name: str, stage: str) -> str:
    """What to change in the recipe so that the parameter is not sent."""
    sampling = f"{stage}.sampling"
    if name == "max_tokens":
        return f"Set teacher.max_tokens_name=max_completion_tokens, or {sampling}.max_tokens=null."
    if name == "max_completion_tokens":
        return f"Set teacher.max_tokens_name=max_tokens, or {sampling}.max_tokens=null."
    if name == "stop":
        return f"Set {sampling}.stop=[]."
    if name not in Sampling.model_fields:
        return f"Take it out of {sampling}.extra."
    return f"Set {sampling}.{name}=null, or another value."
