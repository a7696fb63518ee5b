"""Whether a judge is of the family of what it judges, as far as names and configurations tell.

A model tends to prefer answers like its own (Panickssery et al. 2024, arXiv:2404.13076).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

KIN = {
    **dict.fromkeys(("chatgpt", "davinci", "text", "o"), "gpt"),
    **dict.fromkeys(("mixtral", "ministral", "codestral", "magistral", "devstral"), "mistral"),
    **dict.fromkeys(("codellama", "tinyllama", "smollm", "vicuna", "alpaca"), "llama"),
    **dict.fromkeys(("codegemma", "shieldgemma"), "gemma"),
    **dict.fromkeys(("qwq", "qvq"), "qwen"),
    "gpt-oss": "gpt",
}
"""Names of models that say another family than they are of."""
LETTERS = re.compile(r"[a-z]+")


def family(name: str) -> str | None:
    """The family that a model's name tells: the letters that its last part begins with.

    >>> family("Qwen/Qwen3-8B"), family("gpt-5-mini"), family("meta-llama/Llama-3.1-8B-Instruct")
    ('qwen', 'gpt', 'llama')
    """
    last = name.lower().rstrip("/").rpartition("/")[2]
    found = re.match(r"(?:meta-)?([a-z]+)", last)
    return None if found is None else KIN.get(found[1], found[1])


def same_family(judge: Iterable[str], judged: Iterable[str]) -> str | None:
    """The family that one of the judge's names shares with one of the judged; null where none."""
    families = {family(name) for name in judge} & {family(name) for name in judged} - {None}
    return min(str(one) for one in families) if families else None
