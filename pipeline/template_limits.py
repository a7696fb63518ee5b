"""Bounds for a user's own templates: the sandbox of Jinja2 has none for time and memory.

A template that only inserts, tests and walks its values is *plain*: each step of it is bounded by
what it is given, so that it is enough to look at the clock now and then, and at the length of the
text. One that computes (calls, products, powers, variables of its own, other filters) can take for
ever in one step, inside the interpreter. It is neither compiled nor rendered in this process, but
in one that the system ends (`template_child.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.runtime import Context

CPU_S = 2.0
"""Seconds of processor time that one rendering may take; a prompt takes a ten thousandth of it."""
MAX_CHARACTERS = 2**24
"""How long a rendered text may be."""
LOOK_EVERY = 32
"""After so many steps of a loop the clock is read."""

PLAIN_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.Not,
    nodes.And, nodes.Or, nodes.Filter, nodes.Test, nodes.Tuple, nodes.List, nodes.Slice,
    nodes.Keyword,
)  # fmt: skip
PLAIN_FILTERS = {
    "capitalize", "count", "d", "default", "e", "escape", "first", "join", "last", "length",
    "list", "lower", "reverse", "string", "title", "tojson", "trim", "unique", "upper",
}  # fmt: skip
"""What they give is hardly longer than what they are given."""
PLAIN_TESTS = {
    "defined", "undefined", "none", "string", "number", "mapping", "sequence", "iterable",
    "boolean", "true", "false", "eq", "ne", "lt", "le", "gt", "ge", "in", "sameas", "equalto",
}  # fmt: skip
LONGEST_SETTING = 100
"""Characters of a text that sets a plain filter, as what stands between joined texts."""
WALKED = "walked"
METER = "the meter"
"""Under these names, which no template can write, `walked` and the meter are found."""


class TooLongError(Exception):
    """A template took more time or wrote more text than it may."""


class Meter:
    """What one rendering has used."""

    def __init__(self) -> None:
        """Begin now."""
        self._until = time.thread_time() + CPU_S
        self._steps = 0

    def step(self) -> None:
        """Note a step of a loop. Raises `TooLongError` once the time is over."""
        self._steps += 1
        if self._steps % LOOK_EVERY == 0 and time.thread_time() > self._until:
            raise TooLongError(f"takes more than {CPU_S:g} s of processor time")


@pass_context
def walked(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    """The items of a loop, each of which is noted."""
    meter: Meter = context[METER]
    for item in items:
        meter.step()
        yield item


def is_plain(tree: nodes.Template) -> bool:
    """Whether a template only inserts, tests and walks its values."""
    for node in tree.find_all(nodes.Node):
        is_known = isinstance(node, PLAIN_NODES) and not (
            (isinstance(node, nodes.For) and node.recursive)
            or (isinstance(node, nodes.Filter) and not _is_plain_filter(node))
            or (isinstance(node, nodes.Test) and node.name not in PLAIN_TESTS)
        )
        if not is_known:
            return False
    return True


def _is_plain_filter(node: nodes.Filter) -> bool:
    """A filter of our list that nothing but short texts set: `tojson` can be told to pad."""
    is_short = all(
        isinstance(one, nodes.Const)
        and isinstance(one.value, str)
        and len(one.value) <= LONGEST_SETTING
        for one in node.args
    )
    is_set_otherwise = node.kwargs or node.dyn_args or node.dyn_kwargs
    return node.name in PLAIN_FILTERS and is_short and not is_set_otherwise


def compile_plain(environment: jinja2.Environment, tree: nodes.Template) -> jinja2.Template:
    """Compile a plain template so that each step of a loop is noted."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, WALKED, [], [], None, None)
    return environment.from_string(tree)


def render_plain(compiled: jinja2.Template, values: Mapping[str, Any]) -> str:
    """Render a plain template. Raises `TooLongError`, and what Jinja2 raises."""
    n_characters, written = 0, []
    context = compiled.new_context({**values, METER: Meter()})
    try:
        for piece in compiled.root_render_func(context):
            n_characters += len(piece)
            if n_characters > MAX_CHARACTERS:
                raise TooLongError(f"writes more than {MAX_CHARACTERS} characters")
            written.append(piece)
    except TooLongError:
        raise
    except Exception:  # noqa: BLE001 - as `jinja2.Template.render` does: it says where
        compiled.environment.handle_exception()
    return "".join(written)
