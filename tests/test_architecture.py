"""Who may import whom."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for folder in ("pipeline", "filters")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports(path: Path, *, everywhere: bool) -> set[str]:
    """Names that a module imports: at its top, or inside functions too; not for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    nodes = list(ast.walk(tree)) if everywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found


GRAPH = {name: imports(path, everywhere=False) for name, path in MODULES.items()}
ALL = {name: imports(path, everywhere=True) for name, path in MODULES.items()}


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def within(prefix: str) -> dict[str, set[str]]:
    return {name: ALL[name] for name in MODULES if f"{name}.".startswith(f"{prefix}.")}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """One import cycle, or nothing."""
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> list[str]:
        state[name] = 1
        path.append(name)
        for other in sorted(graph[name] & graph.keys()):
            if state.get(other) == 1:
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        path.pop()
        state[name] = 2
        return []

    for name in graph:
        if name not in state and (found := visit(name)):
            return found
    return []


def test_modules_were_found() -> None:
    assert len(MODULES) > 40
    assert "pipeline.run.execute" in GRAPH["pipeline.run.execute"] | MODULES.keys()
    assert "pipeline.run.prepare" in GRAPH["pipeline.run.execute"]


def test_the_search_finds_a_cycle() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_there_is_no_import_cycle() -> None:
    assert cycle(GRAPH) == []


def test_filters_import_nothing_of_the_pipeline() -> None:
    for name, imported in within("filters").items():
        assert "pipeline" not in roots(imported), name


def test_stages_know_no_teacher_run_or_store() -> None:
    forbidden = ("pipeline.teacher", "pipeline.run", "pipeline.store", "pipeline.manifest")
    for name, imported in within("pipeline.stages").items():
        assert not [i for i in imported if i.startswith((*forbidden, "torch", "openai"))], name
        assert not roots(imported) & {"asyncio", "socket", "sqlite3", "os"}, name


def test_the_foundations_import_nothing_of_ours() -> None:
    for name in ("pipeline.stage", "pipeline.schema", "pipeline.errors"):
        assert roots(ALL[name]) & {"pipeline", "filters"} == set(), name


def test_teachers_know_no_run_stage_or_store() -> None:
    for name, imported in within("pipeline.teacher").items():
        for other in imported:
            assert not other.startswith(("pipeline.run", "pipeline.stages", "pipeline.store")), name


def test_what_is_measured_of_answers_knows_no_run_teacher_or_store() -> None:
    for name, imported in within("pipeline.evaluate").items():
        ours = {other for other in imported if other.startswith("pipeline.")}
        assert all(other.startswith("pipeline.evaluate") for other in ours), name


@pytest.mark.parametrize(
    ("package", "home"),
    [("openai", "pipeline.teacher"), ("httpx2", "pipeline.teacher"), ("torch", "pipeline.train"),
     ("sqlite3", "pipeline.teacher"), ("transformers", "pipeline.train"),
     ("sentence_transformers", "pipeline.train")],
)  # fmt: skip
def test_only_one_folder_imports(package: str, home: str) -> None:
    for name, imported in ALL.items():
        assert package not in roots(imported) or name.startswith(home), name


def test_only_the_store_writes_shards() -> None:
    ours = {name: path for name, path in MODULES.items() if name.startswith("pipeline.")}
    for name, path in ours.items():
        text = path.read_text(encoding="utf-8")
        assert name == "pipeline.store" or "write_parquet" not in text, name
        assert name == "pipeline.store" or "pq.write_table" not in text, name


def test_nothing_unpickles_or_evaluates() -> None:
    catches = {"filters.novelty.loading"}  # names the error that numba's own cache may raise
    for name, path in MODULES.items():
        assert name in catches or not roots(ALL[name]) & {
            "pickle",
            "dill",
            "joblib",
            "marshal",
            "shelve",
        }, name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), name


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "pipeline.cli.commands",
            {"polars", "openai", "datasets", "pyarrow", "numpy", "torch", "numba", "pandas"},
        ),
        ("pipeline.run.execute", {"openai", "aiohttp", "datasets", "torch", "numba", "pandas"}),
    ],
)
def test_importing_loads_nothing_heavy_before_it_is_needed(module: str, heavy: set[str]) -> None:
    if module not in MODULES:
        pytest.skip(f"{module} is not there yet")
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert not heavy & set(done.stdout.split())
