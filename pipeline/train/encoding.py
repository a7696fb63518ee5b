"""Conversations as token ids with labels on the answers, in which data is never a control token.

A model's chat template is rendered with a mark in the place of every text of the data. What the
template wrote (roles, turn marks) is tokenised with the tokenizer's special tokens, what stands in
the data apart from it, as plain text, wherever data would come out as a control token. Elsewhere
the text is tokenised at once: where a template writes texts as they are, the ids are those that the
tokenizer's own `apply_chat_template` gives.

Labels are the ids of each answer and of what ends it: where the template has generation markers,
what stands between them, else an answer and what follows it up to its first special token, and
before it whatever a template does not write to ask for one (an empty thought).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from sys import maxsize
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from pipeline.errors import InputError
from pipeline.train.prompt_ids import UnwritableError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""The label of a token that no loss is taken of."""
ANSWERS = "assistant"

Turn = Mapping[str, str]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation: its ids, as many labels, and how many labelled tokens were cut off."""

    ids: list[int]
    labels: list[int]
    cut: int = 0

    @property
    def learned(self) -> int:
        """The tokens that a loss is taken of; the first is predicted from nothing, and is none."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a conversation's text: of the data or of the template, learned or only read."""

    text: str
    is_data: bool
    is_learned: bool


class Encoder:
    """Encodes conversations for one tokenizer and its chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, answers_only: bool = True) -> None:
        """Without `answers_only` every token is a label.

        Raises `InputError` where there is no chat template, or none that tells an answer's end.
        """
        if not tokenizer.chat_template:
            raise InputError(
                "the base model's tokenizer has no chat template: name an instruction-tuned model, "
                "or put a chat_template.jinja into its folder."
            )
        self._tokenizer = tokenizer
        try:
            self._template = str(tokenizer.get_chat_template())
        except ValueError as error:  # several, and none of them for plain conversations
            raise InputError(
                "the base model's tokenizer has several chat templates and none called 'default': "
                "put the one that is meant into its folder as chat_template.jinja."
            ) from error
        self._answers_only = answers_only
        self._special = set(tokenizer.all_special_ids) | {
            number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._ask = self._asking()
        self.check()

    def _asking(self) -> str:
        """What the template writes after a conversation to ask for an answer."""
        turns = [{"role": "user", "content": "text"}]
        asked, whole = (self._rendered(turns, ask=ask)[0] for ask in (True, False))
        return asked[len(whole) :] if asked.startswith(whole) else ""

    def check(self) -> None:
        """Raise `InputError` where the labels would not be what the model is to write.

        What stands before the last answer has to be what the template writes to ask for one.
        """
        turns = [
            {"role": role, "content": f"text {number}"}
            for number, role in enumerate(("user", ANSWERS, "user", ANSWERS))
        ]
        encoded = self.encode(turns)
        asked = self._rendered(turns[:-1], ask=True)[0]
        whole = self._rendered(turns, ask=False)[0]
        if not whole.startswith(asked):
            raise InputError(
                "the base model's chat template writes before an answer what it does not write to "
                "ask for one, so that training would teach another prompt than is used later."
            )
        if self._answers_only:
            learned = [label for label in encoded.labels if label != IGNORED]
            told = str(self._tokenizer.decode(learned))
            if not ("text 1" in told and "text 3" in told) or "text 2" in told:
                raise InputError(
                    "the generation markers of the base model's chat template do not stand round "
                    f"the answers: round {told!r:.200}."
                )

    def encode(self, turns: Sequence[Turn], most: int | None = None) -> Encoded:
        """The ids and labels of a conversation, of which at most `most` are kept.

        Raises `UnwritableError` where the template refuses the turns or leaves one out.
        """
        marks, marked = _marked(turns)
        text, spans = self._rendered(marked, ask=False)
        places = _places(text, marks)
        if spans is None:
            spans = self._spans(text, turns, marks, places)
        parts = []
        data = dict(zip(places, turns, strict=True))
        ends = {at + len(mark) for at, mark in zip(places, marks, strict=True)}
        cuts = sorted({0, len(text), *places, *ends, *(at for span in spans for at in span)})
        for start, end in pairwise(cuts):
            is_data = start in data
            is_learned = not self._answers_only or any(a <= start < b for a, b in spans)
            parts.append(
                Part(data[start]["content"] if is_data else text[start:end], is_data, is_learned)
            )
        ids, labels = self._tokens(parts)
        cut = 0 if most is None else sum(label != IGNORED for label in labels[most:])
        return Encoded(ids[:most], labels[:most], cut)

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """The ids of the turns before an answer, up to where it begins.

        Raises `UnwritableError` where the template refuses the turns or leaves one out.
        """
        marks, marked = _marked(turns)
        text, _ = self._rendered(marked, ask=True)
        parts: list[Part] = []
        before = 0
        for turn, mark, at in zip(turns, marks, _places(text, marks), strict=True):
            parts.append(Part(text[before:at], is_data=False, is_learned=False))
            parts.append(Part(turn["content"], is_data=True, is_learned=False))
            before = at + len(mark)
        parts.append(Part(text[before:], is_data=False, is_learned=False))
        return self._tokens(parts)[0]

    def _tokens(self, parts: Sequence[Part]) -> tuple[list[int], list[int]]:
        """Ids and labels: of the text at once, or each part's where data would be control tokens.

        A tokenizer may write what meets (a space of the template and the first word of the data) as
        one token, and does so where a model is asked.
        """
        apart = [self._data(one.text) if one.is_data else self._written(one.text) for one in parts]
        if self._tokenizer.is_fast:
            found = self._tokenizer(
                "".join(one.text for one in parts),
                add_special_tokens=False,
                return_offsets_mapping=True,
            )
            ids = list(found["input_ids"])
            written = [n for one, own in zip(parts, apart, strict=True) if not one.is_data
                       for n in own]  # fmt: skip
            if self._controls(ids) == self._controls(written):
                learned = _learned_ranges(parts)
                return ids, [
                    number if _is_in(start, end, learned) else IGNORED
                    for number, (start, end) in zip(ids, found["offset_mapping"], strict=True)
                ]
        ids = [number for own in apart for number in own]
        labels = [
            number if one.is_learned else IGNORED
            for one, own in zip(parts, apart, strict=True)
            for number in own
        ]
        return ids, labels

    def _controls(self, ids: Sequence[int]) -> list[int]:
        """The control tokens among ids; what stands for an unknown sign is none."""
        unknown = self._tokenizer.unk_token_id
        return [number for number in ids if number in self._special and number != unknown]

    def _rendered(self, turns: Sequence[Turn], *, ask: bool) -> tuple[str, list[Span] | None]:
        """What the template writes, and where its generation markers stand, if it has any."""
        from transformers.utils.chat_template_utils import render_jinja_template

        has_markers = "generation" in self._template and "endgeneration" in self._template
        try:
            given: dict[str, Any] = dict(self._tokenizer.special_tokens_map)
            found: Any = render_jinja_template(
                [[dict(turn) for turn in turns]],
                chat_template=self._template,
                return_assistant_tokens_mask=has_markers,
                add_generation_prompt=ask,
                **given,
            )
            texts, spans = found
        except TemplateError as error:
            raise UnwritableError(f"the chat template refuses the turns: {error}.") from error
        has_spans = has_markers and bool(spans)
        return str(texts[0]), [(at, end) for at, end in spans[0]] if has_spans else None

    def _spans(
        self, text: str, turns: Sequence[Turn], marks: Sequence[str], places: Sequence[int]
    ) -> list[Span]:
        """Each answer with what ends it: the text after it up to its first special token.

        And with what a model has to write before it, where a template does not do that itself.
        """
        found = []
        before = 0
        nexts = [*places[1:], len(text)]
        for turn, mark, at, limit in zip(turns, marks, places, nexts, strict=True):
            begin, before = before, at + len(mark)
            if turn["role"] != ANSWERS:
                continue
            asked = text.rfind(self._ask, begin, at) if self._ask else -1
            start = asked + len(self._ask)
            if asked < 0 or not text[start:at].strip():
                start = at
            after = text[at + len(mark) : limit]
            ids = self._written(after)
            last = next((n for n, number in enumerate(ids) if number in self._special), None)
            if last is None:
                raise InputError(
                    "the base model's chat template ends an answer with no special token, and has "
                    "no generation markers that would tell where it ends: put {% generation %} "
                    "and {% endgeneration %} round the answer in it."
                )
            end = str(self._tokenizer.decode(ids[: last + 1]))
            length = len(end) if after.startswith(end) else len(after)
            found.append((start, at + len(mark) + length))
        return found

    def _data(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])

    def _written(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _marked(turns: Sequence[Turn]) -> tuple[list[str], list[dict[str, str]]]:
    """Marks, and the turns with them in the place of their texts."""
    marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
    return marks, [
        {"role": turn["role"], "content": mark} for turn, mark in zip(turns, marks, strict=True)
    ]


def _places(text: str, marks: Sequence[str]) -> list[int]:
    """Where the marks stand in what a template has written."""
    found: list[int] = []
    for mark in marks:
        at = text.find(mark, found[-1] if found else 0)
        if at < 0:
            raise UnwritableError("the chat template leaves out or reorders a turn.")
        found.append(at)
    return found


def _learned_ranges(parts: Sequence[Part]) -> list[Span]:
    """From where to where the text of the parts is learned."""
    found: list[Span] = []
    at = 0
    for one in parts:
        end = at + len(one.text)
        if one.is_learned and one.text:
            if found and found[-1][1] == at:
                found[-1] = (found[-1][0], end)
            else:
                found.append((at, end))
        at = end
    return found


def _is_in(start: int, end: int, spans: Sequence[Span]) -> bool:
    """Whether a token has a sign of one of the spans; one without a sign is where it stands."""
    at = bisect_right(spans, (max(end - 1, start), maxsize)) - 1
    return at >= 0 and start < spans[at][1]
