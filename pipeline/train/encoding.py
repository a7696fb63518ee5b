"""Conversations as token ids with labels on the answers, in which data is never a control token.

A model's chat template is rendered with a mark in the place of every text of the data. What the
template wrote (roles, turn marks) is tokenised with the tokenizer's special tokens, what stands in
the data apart from it, as plain text. On texts that a template writes as they are, the ids are
those that the tokenizer's own `apply_chat_template` gives.

Labels are the ids of each answer and of what ends it: where the template has generation markers,
what stands between them, else an answer and what follows it up to its first special token, and
before it whatever a template does not write to ask for one (an empty thought).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
        marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
        marked = [
            {"role": turn["role"], "content": mark} for turn, mark in zip(turns, marks, strict=True)
        ]
        text, spans = self._rendered(marked, ask=False)
        places: list[int] = []
        for mark in marks:
            at = text.find(mark, places[-1] if places else 0)
            if at < 0:
                raise UnwritableError("the chat template leaves out or reorders a turn.")
            places.append(at)
        if spans is None:
            spans = self._spans(text, turns, marks, places)
        ids: list[int] = []
        labels: list[int] = []
        data = dict(zip(places, turns, strict=True))
        ends = {at + len(mark) for at, mark in zip(places, marks, strict=True)}
        cuts = sorted({0, len(text), *places, *ends, *(at for span in spans for at in span)})
        for start, end in pairwise(cuts):
            piece = self._data(data[start]["content"]) if start in data else None
            found = self._written(text[start:end]) if piece is None else piece
            is_learned = not self._answers_only or any(a <= start < b for a, b in spans)
            ids += found
            labels += found if is_learned else [IGNORED] * len(found)
        cut = 0 if most is None else sum(label != IGNORED for label in labels[most:])
        return Encoded(ids[:most], labels[:most], cut)

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
