"""The benchmark of training: what it counts, and that it runs on a processor."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        lacking = "polars openai vllm rapidfuzz numba typer yaml".split()
        if name.partition(".")[0] in lacking:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocked())
import pipeline.train.sft_child, pipeline.train.sft
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "transformers", "pandas"}, loaded
"""


def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_sft", ROOT / "scripts" / "bench_sft.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_sft"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_training_is_imported_where_little_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_operations_are_those_of_the_formula() -> None:
    module = bench()
    shape = module.Shape(width=8, inner=16, layers=2, heads=2, keys=1, vocabulary=10)
    matrices = 8 * 10 + 2 * (8 * 8 * 2 + 8 * 4 * 2 + 8 * 16 * 3)
    assert module.operations(shape, [], 7) == 0
    wanted = sum(n * (4 * matrices + 6 * 7) + 6 * 2 * 8 * n * n for n in (3, 5))
    assert module.operations(shape, [3, 5], 7) == wanted
    assert module.operations(shape, [8], 7) > wanted, "one document sees more of itself than two"


def test_a_model_of_seven_thousand_million_weights_has_them() -> None:
    shape = bench().SHAPES["7b"]
    in_matrices = bench().operations(shape, [1], 0) // 4
    assert 6.4e9 < in_matrices < 6.7e9, "all but the embedding of 0.13e9"


def test_rows_are_joined_until_they_are_long_enough_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"output": "' + "word" * 300 + '"}\n' * 1)
    with pytest.raises(SystemExit, match="has no text of 512 tokens"):
        bench().lengths(path)
    long = '{"output": "' + "word" * 9000 + '", "n": 1}\n'
    path.write_text(('{"output": "' + "word" * 300 + '"}\n') * 5 + long)
    assert bench().lengths(path) == [600, 600, 4096]


@pytest.mark.filterwarnings("ignore")  # of TRL, about rows that are packed without flash attention
@pytest.mark.parametrize("name", ["trl", "packed"])
def test_a_case_runs_on_a_processor(name: str) -> None:
    pytest.importorskip("trl", reason="the extra 'train' is not installed")
    module = bench()
    given = [20, 30, 64, 40, 25]
    found = module.measure(module.SHAPES["tiny"], module.CASES[name], given, 2, longest=64)
    assert found["tokens_a_second"] > 0
    assert found["trained"] == 32_768
    assert (found["padded"] == 0) == (name == "packed")
    assert found["operations"] > 0
