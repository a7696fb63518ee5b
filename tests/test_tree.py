"""The tree of a row, for people."""

import pytest

from pipeline.tree import Branch, as_lines

TREE = Branch(
    "import-000000-00",
    "Name a fruit.",
    0,
    children=(
        Branch(
            "evolve-000000-00",
            "Name a fruit. Say where it grows.",
            1,
            "deepen",
            children=(
                Branch(
                    "evolve-000000-02", "\x1b[31mRed\u202e", 2, "breadth", "novelty", "not_novel"
                ),
            ),
        ),
        Branch("evolve-000000-01", None, 1, "breadth", "evolve", "refusal", "'sorry' in 3 words"),
    ),
)


def test_a_tree_shows_each_row_below_its_parent_with_what_is_new_in_it() -> None:
    assert list(as_lines(TREE, 100, marked="evolve-000000-01")) == [
        "import-000000-00",
        "|  Name a fruit.",
        "+- evolve-000000-00 round 1, deepen",
        "|  |  ... Say where it grows.",
        "|  +- evolve-000000-02 round 2, breadth",
        r"|        \x1b[31mRed\u202e",
        "|        dropped by novelty: not_novel",
        "+- evolve-000000-01 round 1, breadth <- this row",
        "      (no text)",
        "      dropped by evolve: refusal ('sorry' in 3 words)",
    ]


def test_walking_a_tree_meets_every_row_once() -> None:
    ids = [one.row_id[-9:] for one in TREE.walk()]
    assert ids == ["000000-00", "000000-00", "000000-02", "000000-01"]


@pytest.mark.parametrize("width", [10, 60, 200])
def test_no_text_of_a_model_is_longer_than_its_line(width: int) -> None:
    long = Branch("evolve-000000-00", "word " * 500, 1, "deepen")
    assert all(len(line) <= max(width, 60) for line in as_lines(long, width))
