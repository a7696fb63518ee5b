"""Root verbs and objects by the heuristic, where no parser is installed."""

from pipeline.report.roots import count, root


def test_the_root_is_the_first_known_verb_and_the_head_of_what_follows() -> None:
    cases = {
        "Write a short story about a fox.": ("write", "story"),
        "Please classify the following sentences as true or false.": ("classify", "sentence"),
        "Given two numbers, calculate their sum.": ("calculate", "sum"),
        "Can you give me three examples of fruit?": ("give", "example"),
        "You are a cook. List the steps to boil an egg.": ("list", "step"),
        "Translate this to French:\nGood day": ("translate", None),
        "Summarize": ("summarize", None),
        "Compare cities, then rank them.": ("compare", "city"),
        "Name all glasses and boxes": ("name", "glass"),
    }
    assert {text: root(text) for text in cases} == cases


def test_what_has_no_known_root_is_counted_as_such() -> None:
    texts = ["What is the capital of Peru?", "", "写一首诗。", "Write a poem.", "Write a poem now"]
    found, without = count(texts)
    assert without == 3
    assert found == {("write", "poem"): 1, ("write", "now"): 1}


def test_a_verb_inside_a_clause_is_no_root() -> None:
    assert root("The machine can read and the people write letters") is None
