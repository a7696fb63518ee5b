"""Whatever waits for a model waits under a deadline: the code that talks to models is read."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TEACHER = Path(__file__).parents[1] / "pipeline" / "teacher"
TALKING = ("transport", "openai_teacher", "server_scorer")
ALLOWED = {
    "_CarefulRequest.send": "aiohttp calls it for a request of `OpenAITeacher`, under its deadline",
    "_BoundedClient.send": "the openai package calls it for a request, under the same deadline",
    "_all": "waits for requests alone, each of which has its own deadline",
}
DEADLINES = {"TimeLimit": 0, "asyncio.timeout": 0, "asyncio.timeout_at": 0, "asyncio.wait_for": 1}
"""What ends a wait, and which of its arguments says when."""
SERVER = "OpenAITeacher"
"""What `self._server` is."""


@dataclass
class Wait:
    """An await, `async for` or `async with` that no deadline of its own function bounds."""

    line: int
    calls: str  # the function of ours that it waits for, or nothing
    has_deadline: bool


@dataclass
class Function:
    """An asynchronous function, and how it is waited for by those of the same modules."""

    name: str
    module: str
    waits: list[Wait] = field(default_factory=list)


def is_deadline(call: ast.expr) -> bool:
    """Whether this is `TimeLimit(x)`, or asyncio's `timeout(x)`, `wait_for` or `wait` with one."""
    if not isinstance(call, ast.Call):
        return False
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    name = ast.unparse(call.func)
    at = given.get("timeout", given.get("delay"))
    if at is None and name in DEADLINES and len(call.args) > DEADLINES[name]:
        at = call.args[DEADLINES[name]]
    is_none = isinstance(at, ast.Constant) and at.value is None
    return name in (*DEADLINES, "asyncio.wait") and at is not None and not is_none


def ours(call: ast.expr, owner: str) -> str:
    """The function of ours that is called, as `Class.method`; nothing where it is another's."""
    if not isinstance(call, ast.Call):
        return ""
    if isinstance(call.func, ast.Name):
        return call.func.id
    if isinstance(call.func, ast.Attribute):
        on = {"self": owner, "self._server": SERVER}.get(ast.unparse(call.func.value))
        return f"{on}.{call.func.attr}" if on else ""
    return ""


def waits(node: ast.AST, owner: str, *, under: bool) -> Iterator[Wait]:
    """Everything in a function that waits; what is defined in it is a function of its own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return
    line = getattr(node, "lineno", 0)
    if isinstance(node, ast.AsyncWith):
        times = [is_deadline(item.context_expr) for item in node.items]
        for item, is_time in zip(node.items, times, strict=True):
            if not is_time:
                yield Wait(line, ours(item.context_expr, owner), under or any(times))
        for child in node.body:
            yield from waits(child, owner, under=under or any(times))
        return
    if isinstance(node, ast.Await):
        yield Wait(line, ours(node.value, owner), under or is_deadline(node.value))
    if isinstance(node, ast.AsyncFor) or (isinstance(node, ast.comprehension) and node.is_async):
        yield Wait(getattr(node.iter, "lineno", line), ours(node.iter, owner), under)
    for child in ast.iter_child_nodes(node):
        yield from waits(child, owner, under=under)


def functions(module: str, source: str) -> Iterator[Function]:
    """All asynchronous functions of a module, `Class.method` by name."""

    def visit(node: ast.AST, place: str) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            name = f"{place}{child.name}" if named else ""
            if isinstance(child, ast.AsyncFunctionDef):
                found = [
                    one
                    for part in child.body
                    for one in waits(part, place.rstrip("."), under=False)
                ]
                yield Function(name, module, found)
            yield from visit(child, f"{name}." if name else place)

    yield from visit(ast.parse(source), "")


def unbounded(sources: dict[str, str]) -> list[str]:
    """Each wait without a deadline: its own, that of whoever calls, or that of what it calls."""
    every = [found for name, text in sources.items() for found in functions(name, text)]
    bounded = {found.name for found in every if found.name in ALLOWED}
    while more := {one.name for one in every if is_bounded(one, every, bounded)} - bounded:
        bounded |= more
    return [
        f"{found.module}: line {wait.line} of {found.name}"
        for found in every
        for wait in found.waits
        if found.name not in bounded and not wait.has_deadline and wait.calls not in bounded
    ]


def is_bounded(found: Function, every: list[Function], bounded: set[str]) -> bool:
    """Whether all its waits are, or all those of others for it, where it is theirs alone."""
    if all(wait.has_deadline or wait.calls in bounded for wait in found.waits):
        return True
    callers = [
        wait.has_deadline or one.name in bounded
        for one in every
        for wait in one.waits
        if wait.calls == found.name
    ]
    is_private = found.name.rpartition(".")[2].startswith("_")
    return is_private and bool(callers) and all(callers)


SOURCES = {name: (TEACHER / f"{name}.py").read_text(encoding="utf-8") for name in TALKING}


def test_nothing_waits_for_a_model_without_a_deadline() -> None:
    assert unbounded(SOURCES) == []


def test_what_is_allowed_is_there_and_waits() -> None:
    found = {one.name: one.waits for name, text in SOURCES.items() for one in functions(name, text)}
    assert ALLOWED.keys() <= found.keys()
    assert sum(map(len, found.values())) >= 20
    assert all(found[name] for name in ALLOWED)


@pytest.mark.parametrize("module", TALKING)
@pytest.mark.parametrize(
    "wait",
    [
        "await self._clients[0].get('/models')",
        "await asyncio.sleep(1)",
        "await asyncio.wait_for(self.x, None)",
        "async with asyncio.timeout(None):\n            await self.x",
        "async for line in self.x:\n            pass",
        "async with self.x:\n            pass",
        "return [line async for line in self.x]",
        "await self._other()\n\n    async def _other(self):\n        await self.x",
        "async with asyncio.timeout(1):\n            async def g(): await self.x",
    ],
)
def test_a_wait_that_is_planted_is_found(module: str, wait: str) -> None:
    planted = f"\n\nclass Planted:\n    async def planted(self):\n        {wait}\n"
    found = unbounded(SOURCES | {module: SOURCES[module] + planted})
    assert found
    assert all(f"{module}: line" in one and "Planted" in one for one in found)


@pytest.mark.parametrize(
    "wait",
    [
        "async with asyncio.timeout(1):\n            await self.x",
        "async with TimeLimit(1):\n            await self.x",
        "await asyncio.wait_for(self.x, 1)",
        "await asyncio.wait([self.x], timeout=1)",
        "await self._server.send(1)",
        "async with asyncio.timeout(1):\n            await self._other()\n\n"
        "    async def _other(self):\n        await self.x",
    ],
)
def test_one_under_a_deadline_is_not(wait: str) -> None:
    planted = f"\n\nclass Planted:\n    async def planted(self):\n        {wait}\n"
    assert unbounded(SOURCES | {"transport": SOURCES["transport"] + planted}) == []


@pytest.mark.parametrize("deadline", ["timeout_s", "connect_timeout_s * 2", "idle_timeout_s"])
def test_each_deadline_that_there_is_is_needed_or_lies_within_another(deadline: str) -> None:
    text = SOURCES["openai_teacher"]
    without = text.replace(f"TimeLimit(self._settings.{deadline})", "TimeLimit(None)")
    assert without != text
    found = unbounded(SOURCES | {"openai_teacher": without})
    assert bool(found) is (deadline != "idle_timeout_s")
