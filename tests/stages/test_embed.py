"""What is embedded of a row, and what becomes of the vector."""

from random import Random

import numpy as np
import pytest

from pipeline import templates
from pipeline.stage import Drop, Reply, Row, columns_read
from pipeline.stages import embed
from pipeline.stages.embed import Config

ROW: Row = {"row_id": "a", "instruction": "Name a river.", "input": "In Italy.", "output": "Po"}


def text(row: Row, config: Config) -> str:
    request = embed.ask(row, config, Random(0))
    return templates.load(request.template).render(request.values)


@pytest.mark.parametrize(
    ("row", "config", "expected"),
    [
        (ROW, Config(), "Name a river.\n\nIn Italy."),
        (ROW | {"input": ""}, Config(), "Name a river."),
        (ROW | {"input": None}, Config(), "Name a river."),
        (ROW | {"instruction": "{{ x }}\n", "input": ""}, Config(), "{{ x }}\n"),
        (ROW, Config(text=("instruction",)), "Name a river."),
        (ROW, Config(text=("output", "instruction")), "Po\n\nName a river."),
    ],
)
def test_the_text_is_what_the_setting_names_with_blank_lines_between(
    row: Row, config: Config, expected: str
) -> None:
    assert text(row, config) == expected


def test_the_columns_that_are_read_are_those_of_the_setting() -> None:
    assert columns_read(embed.STAGE, Config()) == ("row_id", "instruction", "input")
    assert columns_read(embed.STAGE, Config(text=("output",))) == ("row_id", "output")


def test_the_vector_is_kept_as_float32() -> None:
    (found,) = embed.read(Reply("", vector=(0.5, 0.1)), ROW, Config(length=2))
    assert not isinstance(found, Drop)
    assert found["embedding"].tolist() == [0.5, float(np.float32(0.1))]


def test_a_vector_of_another_length_than_was_set_is_dropped() -> None:
    (found,) = embed.read(Reply("", vector=(0.5, 0.1)), ROW, Config(length=3))
    assert found == Drop("wrong_length", "2 numbers, not 3")
