"""The card of a model that a run trained: of what it is made, its settings, how it came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.run.roles import Model
from pipeline.train.settings import BOTTLENECKS, MOST_BITS, Config
from pipeline.version import VERSION

MADE_HERE = "tiny, a small model made for this run, which shows the way and is worth nothing"

LOADED = (
    "PEFT has no bottleneck adapters, and servers read none. They are loaded with synth:",
    "",
    "```python",
    "from pipeline.train.bottleneck import load",
    "",
    'model = load("BASE", "FOLDER")  # the base, and the folder of this card\'s `adapter`',
    "```",
    "",
)


def render(
    config: Config,
    base: Model | None,
    measures: Mapping[str, Any],
    *,
    used: Mapping[str, Any],
    run: str,
    rows: str,
) -> str:
    """Markdown with the header that the Hugging Face hub reads; `rows` is the data's digest.

    `used` are the settings that were null, as the training had them.
    """
    is_peft = config.method not in ("full", *BOTTLENECKS)
    header: dict[str, Any] = {
        "library_name": "peft" if is_peft else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["synth", "sft", config.method],
    }
    if base is not None and base.uri.hub:
        header["base_model"] = base.uri.hub
    named = MADE_HERE if base is None else f"`{base.uri.place}`"
    at = "" if base is None else f", SHA-256 of its files `{base.sha256}`"
    if base is not None and base.uri.revision:
        at += f", commit `{base.uri.revision}`"
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False).strip(),
        "---",
        "",
        f"# Fine-tuned by `{config.method}` in the run {run}",
        "",
        f"* Base: {named}{at}.",
        f"* Rows: {measures.get('rows_trained')} trained on, digest `{rows}`.",
        f"* Loss: {_number(measures.get('loss'))} in training, "
        f"{_number(measures.get('held_out_loss'))} on rows held out, after "
        f"{measures.get('steps')} steps; the curve is `metrics.jsonl`.",
        *_capacity(measures.get("bits_a_parameter")),
        f"* Made by synth {VERSION} with TRL{' and PEFT' if is_peft else ''}.",
        "",
        *(LOADED if config.method in BOTTLENECKS else ()),
        "## Settings",
        "",
        "```yaml",
        yaml.safe_dump(config.model_dump(mode="json") | dict(used), sort_keys=False).strip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _capacity(bits: float | None) -> list[str]:
    """How much the data holds beside what the weights can."""
    if bits is None:
        return []
    most = f", more than the {MOST_BITS:g} or so that one can hold" if bits > MOST_BITS else ""
    return [f"* The first epoch's summed loss is {bits:.3g} bits a trainable parameter{most}."]


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
