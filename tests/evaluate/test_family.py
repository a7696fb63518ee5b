"""Judge and judged of one family, as names tell."""

import pytest

from pipeline.evaluate.family import family, same_family


@pytest.mark.parametrize(
    ("name", "is_of"),
    [("Qwen/Qwen3-8B", "qwen"), ("qwen2", "qwen"), ("gpt-4o", "gpt"), ("o3-mini", "gpt"),
     ("mistralai/Mixtral-8x7B", "mistral"), ("TinyLlama-1.1B", "llama"), ("42", None), ("", None)],
)  # fmt: skip
def test_the_family_of_a_name(name: str, is_of: str | None) -> None:
    assert family(name) == is_of


def test_one_shared_name_is_enough() -> None:
    assert same_family(["gpt-5-mini"], ["Qwen/Qwen3-8B", "qwen3"]) is None
    assert same_family(["my-judge", "qwen3"], ["Qwen/Qwen3-8B"]) == "qwen"
    assert same_family([""], [""]) is None
