"""What is known of the terms that come with a teacher's output, by the family of its name.

Terms change, and a name proves nothing: this says what to look for, and where. Nothing here is
legal advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """A family of models: what its makers had said by 2025 of using what it writes, and where."""

    family: str
    name: re.Pattern[str]
    said: str
    read: str


def _family(family: str, name: str, said: str, read: str) -> Terms:
    return Terms(family, re.compile(rf"(?:^|[^a-z])(?:{name})", re.IGNORECASE), said, read)


FAMILIES = (
    _family(
        "gpt-oss",
        r"gpt-oss",
        "weights under Apache-2.0, with a usage policy",
        "https://huggingface.co/openai",
    ),
    _family(
        "OpenAI",
        r"gpt-[345]|chatgpt|o[1345](?:-|$)|text-davinci|davinci|codex-",
        "the terms of use forbid to develop models that compete with OpenAI with its output",
        "https://openai.com/policies",
    ),
    _family(
        "Claude",
        r"claude",
        "the terms forbid to build competing products or models with its output",
        "https://www.anthropic.com/legal",
    ),
    _family(
        "Gemma",
        r"gemma",
        "up to Gemma 3 a model trained on its output to do the like counts as a derivative, under "
        "the Gemma terms of use and their list of forbidden uses",
        "https://ai.google.dev/gemma/terms",
    ),
    _family(
        "Gemini",
        r"gemini",
        "the API's additional terms forbid to develop models that compete with its services",
        "https://ai.google.dev/gemini-api/terms",
    ),
    _family(
        "Llama",
        r"llama|vicuna",
        "Llama 2 and 3 forbid to improve other large language models with its output; from 3.1 on "
        "that is allowed, and a model trained on it that is given away is called Llama-something "
        "and says Built with Llama",
        "https://www.llama.com/license",
    ),
    _family(
        "Qwen",
        r"qwen|qwq",
        "most sizes are under Apache-2.0; some are under a Qwen licence, by which a model trained "
        "on its output that is given away says so, and some of these are for research alone",
        "https://huggingface.co/Qwen",
    ),
    _family(
        "DeepSeek",
        r"deepseek",
        "R1 and later weights are under MIT, distillation allowed; older ones under a licence of "
        "its own with forbidden uses; the service has terms of its own",
        "https://huggingface.co/deepseek-ai",
    ),
    _family(
        "Mistral",
        r"mistral|mixtral|ministral|codestral|magistral|pixtral|devstral",
        "many weights are under Apache-2.0, others for research or outside production alone; the "
        "service has terms of its own",
        "https://mistral.ai/terms",
    ),
    _family("Phi", r"phi-\d", "weights under MIT", "https://huggingface.co/microsoft"),
    _family(
        "Grok",
        r"grok",
        "the service's terms forbid to develop competing models with its output",
        "https://x.ai/legal",
    ),
    _family(
        "Cohere",
        r"command-|aya-|c4ai",
        "open weights are for non-commercial use (CC-BY-NC-4.0); the service has terms of its own",
        "https://cohere.com/terms-of-use",
    ),
)


def terms_of(teacher: str) -> Terms | None:
    """The family that a model's name is of; null where none is known.

    >>> [found and found.family for found in map(terms_of, ("Qwen/Qwen3-8B", "gpt-oss-20b"))]
    ['Qwen', 'gpt-oss']
    >>> terms_of("my-model") is terms_of("gpt2") is None
    True
    """
    return next((family for family in FAMILIES if family.name.search(teacher)), None)
