"""Root verbs and objects: by the heuristic, and by a parser as spaCy has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.report import roots
from pipeline.report.roots import count, root

Tagged = Sequence[tuple[str, str, str, str, int]]
"""Words of a sentence: the word, its lemma, its part of speech, its relation, and its head."""
PARSED: dict[str, list[Tagged]] = {
    "Write poems.": [
        [("Write", "write", "VERB", "ROOT", 0), ("poems", "poem", "NOUN", "dobj", 0)],
    ],
    "Rivers. Names the Sea and calls it": [
        [("Rivers", "river", "NOUN", "ROOT", 0)],
        [
            ("Names", "Name", "VERB", "ROOT", 0),
            ("the", "the", "DET", "det", 2),
            ("Sea", "Sea", "NOUN", "obj", 0),
            ("and", "and", "CCONJ", "cc", 0),
            ("calls", "call", "VERB", "conj", 0),
            ("it", "it", "PRON", "dobj", 4),
        ],
    ],
    "Think.": [[("Think", "think", "VERB", "ROOT", 0)]],
    "What a day": [[("day", "day", "NOUN", "ROOT", 0)]],
    "": [],
}
COUNTS = {("write", "poem"): 2, ("name", "sea"): 1, ("think", None): 1}


@dataclass
class Token:
    """A word as spaCy's `Token` has it."""

    lemma_: str
    pos_: str
    dep_: str
    children: list[Token] = field(default_factory=list)


@dataclass
class Sentence:
    root: Token


@dataclass
class Document:
    sents: list[Sentence]


class StandIn:
    """Has of spaCy's `Language` what is asked of it; its parses are made by hand."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def pipe(self, texts: Iterable[str], batch_size: int) -> Iterator[Document]:
        self.batches.append(batch_size)
        for text in texts:
            sentences = []
            for words in PARSED[text]:
                tokens = [Token(lemma, pos, dep) for _, lemma, pos, dep, _ in words]
                for at, (*_, head) in enumerate(words):
                    if head != at:
                        tokens[head].children.append(tokens[at])
                sentences.append(Sentence(next(one for one in tokens if one.dep_ == "ROOT")))
            yield Document(sentences)


def spacy_pipeline() -> Any:
    """spaCy's own classes, without a model: an English tokenizer, and the parses made by hand."""
    spacy = pytest.importorskip("spacy", reason="spaCy is in no extra: a model must be fetched")
    from spacy.tokens import Doc

    class Hand:
        def __init__(self, vocab: Any) -> None:
            self.vocab = vocab

        def __call__(self, text: str) -> Any:
            words = [word for sentence in PARSED[text] for word in sentence]
            before = [
                sum(map(len, PARSED[text][:at])) for at, one in enumerate(PARSED[text]) for _ in one
            ]
            return Doc(
                self.vocab,
                words=[word[0] for word in words],
                lemmas=[word[1] for word in words],
                pos=[word[2] for word in words],
                deps=[word[3] for word in words],
                heads=[first + word[4] for first, word in zip(before, words, strict=True)],
            )

    parser = spacy.blank("en")
    parser.tokenizer = Hand(parser.vocab)
    return parser


@pytest.mark.parametrize("load", [StandIn, spacy_pipeline])
def test_a_parser_s_roots_are_the_first_verb_that_a_sentence_hangs_on(load: Any) -> None:
    found, without = count([*PARSED, "Write poems."], load)
    assert dict(found) == COUNTS
    assert without == 2


def test_texts_are_parsed_in_batches_as_far_as_they_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parser = StandIn()
    monkeypatch.setitem(PARSED, "a" * roots.LONGEST, [])
    assert count(["a" * 5000], lambda: parser) == ({}, 1)
    assert parser.batches == [roots.BATCH]


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without spaCy."""
    monkeypatch.setattr(roots, "_has_parser", lambda: False)


def test_the_parser_is_taken_where_one_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "_has_parser", lambda: True)
    monkeypatch.setattr(roots, "_installed", StandIn)
    assert count(["Write poems."]) == ({("write", "poem"): 1}, 0)
    assert "dependency parser of spaCy's en_core_web_sm" in roots.method()


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


@pytest.mark.usefixtures("no_parser")
def test_what_has_no_known_root_is_counted_as_such() -> None:
    texts = ["What is the capital of Peru?", "", "写一首诗。", "Write a poem.", "Write a poem now"]
    found, without = count(texts)
    assert without == 3
    assert found == {("write", "poem"): 1, ("write", "now"): 1}


def test_a_verb_inside_a_clause_is_no_root() -> None:
    assert root("The machine can read and the people write letters") is None
