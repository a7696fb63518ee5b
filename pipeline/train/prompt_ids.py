"""Token ids of a prompt and its answer, in which data can never become a control token.

What a template writes (roles, turn marks) is tokenised with the tokenizer's special tokens; what
stands in the data is tokenised apart, as plain text, whatever it looks like. A model without a chat
template gets the plain form of Superfiltering (Li et al. 2024, arXiv:2402.00530): instruction,
newline, input, newline, after the tokenizer's bos, or its eos where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from pipeline.errors import TeacherError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Message = Mapping[str, str]


class UnwritableError(TeacherError):
    """A chat template refuses the turns that it is given, or leaves some out."""


class PromptIds:
    """Encodes prompts and answers for one tokenizer; both as lists of ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """`tokenizer` is a fast one. Raises `TeacherError` where nothing can begin a text."""
        self._tokenizer = tokenizer
        self.has_template = bool(tokenizer.chat_template)
        self._first = tokenizer.bos_token_id
        if self._first is None:
            self._first = tokenizer.eos_token_id
        if self._first is None and not self.has_template:
            raise TeacherError(
                "the scorer's tokenizer has neither a bos nor an eos token, so that nothing can "
                "stand before an answer alone."
            )

    def data(self, text: str) -> list[int]:
        """A text of the data: no special token, nothing added."""
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The turns before the answer, up to where the answer begins.

        Raises `UnwritableError` where the chat template cannot write them.
        """
        if not self.has_template:
            return [self._first, *self.data("".join(f"{turn['content']}\n" for turn in messages))]
        marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
        marked = [
            {"role": turn["role"], "content": mark}
            for turn, mark in zip(messages, marks, strict=True)
        ]
        try:
            found = self._tokenizer.apply_chat_template(
                marked, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise UnwritableError(
                f"the scorer's chat template refuses the turns: {error}."
            ) from error
        assert isinstance(found, str)
        rendered = found
        ids: list[int] = []
        for turn, mark in zip(messages, marks, strict=True):
            before, there, rendered = rendered.partition(mark)
            if not there:
                raise UnwritableError("the scorer's chat template leaves out or reorders a turn.")
            ids += self._written(before) + self.data(turn["content"])
        return ids + self._written(rendered)

    def _written(self, text: str) -> list[int]:
        """What the template wrote: its marks are special tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def turns(instruction: str, given: str, *, has_template: bool) -> list[dict[str, str]]:
    """A row's instruction and input as turns: one of the user's, or two plain paragraphs."""
    if has_template:
        text = f"{instruction}\n\n{given}" if given else instruction
        return [{"role": "user", "content": text}]
    return [{"role": "user", "content": text} for text in (instruction, given) if text]
