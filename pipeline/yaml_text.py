"""YAML as recipes and template headers use it: safe, small, no aliases, no key twice.

The safe loader of PyYAML still expands aliases: 271 bytes can describe 43 million leaves. Nothing
that people write here needs an alias, so there are none.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.errors import RecipeError

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 30


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - PyYAML's own signature
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases (*name) are not allowed",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"nested deeper than {MAX_DEPTH}",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):  # as of `!!set [0]`
            raise yaml.constructor.ConstructorError(
                None, None, "a mapping of names is needed here", node.start_mark
            )
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a word, not a list or a mapping", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str, *, where: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """Parse one YAML document; `where` names it in messages. Raises `RecipeError`."""
    return load_with_lines(text, where=where)[0]


def load_with_lines(text: str, *, where: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """Parse one YAML document; also the line (from 1) at which each value stands, by path."""
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(f"{where}: more than {MAX_CHARACTERS} characters.")
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: {' '.join(str(error).split())}.") from error
    try:
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{where}: line {line}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # what PyYAML's own constructors raise on a value that is not what its tag says
        raise RecipeError(f"{where}: a value cannot be read: {error}.") from error
    finally:
        loader.dispose()
    lines: dict[tuple[str | int, ...], int] = {}
    if node is not None:
        _note_lines(node, (), lines)
    return value, lines


def _note_lines(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]
) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _note_lines(value, (*path, key.value), lines)
            lines[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), lines)
