import pytest

from pipeline.stages.yes_no import is_yes


@pytest.mark.parametrize("text", ["Yes", " yes\n", "\tYES", "\u3000Yes"])
def test_the_bare_word_is_a_yes(text: str) -> None:
    assert is_yes(text)


@pytest.mark.parametrize(
    "text", ["", "No", "Yes.", "yEs", "Yes, it is", "\ufeffYes", "是", '"Yes"']
)
def test_everything_else_is_a_no(text: str) -> None:
    assert not is_yes(text)
