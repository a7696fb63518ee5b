"""The `offline` teacher: an embedded grammar, for a first look and for tests.

It needs no network, no key and no model, and it is none: it writes tasks from templates and
answers only tasks that it wrote. Replies carry the flaws of a real teacher, at stated rates
(`flaws.py`), so that the rest of a run has something to sort out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from pipeline.teacher.offline import evolving, replies
from pipeline.teacher.offline.reply import Answer

__all__ = ["TEMPLATES", "Answer", "answer"]

DEEPER = ("constraints", "deepen", "concretize", "reasoning", "complicate")
TEMPLATES: dict[str, Callable[[Mapping[str, Any], Random], Answer]] = {
    **replies.TEMPLATES,
    **{f"evolve-{name}": partial(evolving.deeper, name) for name in DEEPER},
    "evolve-breadth": evolving.broader,
    "compare": evolving.compare,
    "respond": evolving.respond,
    "respond-steps": evolving.respond_steps,
}


def answer(template: str, values: Mapping[str, Any], rng: Random) -> Answer:
    """Reply to the prompt that `template` makes of `values`; `rng` is the only randomness.

    Raises LookupError for a template that the grammar has no answer to.
    """
    reply = TEMPLATES.get(template)
    if reply is None:
        known = ", ".join(sorted(TEMPLATES))
        message = f"The offline teacher does not answer the template '{template}', only {known}."
        raise LookupError(message)
    return reply(values, rng)
