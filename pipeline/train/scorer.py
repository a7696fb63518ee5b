"""Scorers on this machine: a causal language model from a folder, and a tiny one made on the spot.

They answer calls of the kind `score`, journalled like any request, so that nothing is measured
twice. Calls that wait together are measured in one batch; a loss then differs in its last bits
with the rows beside it, and is stored once. No code of a folder's is run, and weights are read from
safetensors alone.

A reply is

    {"object": "score", "model": "gpt2", "loss": 2.31, "loss_alone": 3.02, "tokens": 57, "cut": 0,
     "usage": {"prompt_tokens": 148, "completion_tokens": 0}}
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import TeacherError
from pipeline.teacher.answer_passes import exchanges
from pipeline.teacher.call import Call, Received
from pipeline.train import tiny, token_loss
from pipeline.train.batching import Batches
from pipeline.train.loading import loading
from pipeline.train.prompt_ids import Message, PromptIds, UnwritableError, turns

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST = 512
"""The most rows that are measured at once."""
FOLDS = 2
STEPS = 300
READ = 20_000
"""The most rows that the tiny model's vocabulary is learned from, and that it trains on."""

NO_OTHER_ROWS = "no_other_rows_to_learn_from"
UNTAUGHT = "untaught"
"""The file beside a tiny model that had nothing to learn from."""


class Texts(NamedTuple):
    """What is measured of a row; `messages` is the whole conversation where it is more."""

    instruction: str
    given: str
    output: str
    messages: tuple[Message, ...] = ()

    def all(self) -> list[str]:
        """Every text of the row once."""
        said = [message["content"] for message in self.messages]
        return said or [self.instruction, self.given, self.output]


def _exchanges(texts: Texts, *, has_template: bool) -> list[tuple[Sequence[Message], str]]:
    """Each answer of a row with the turns before it."""
    if texts.messages:
        return exchanges(texts.messages)
    asked = turns(texts.instruction, texts.given, has_template=has_template)
    return [(asked, texts.output)]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to measure, and how its prompts are written.

    `has_learned` is False where it had no row to learn from: what it says measures nothing.
    """

    model: PreTrainedModel
    ids: PromptIds
    context: int
    has_learned: bool = True

    def measure(self, rows: Sequence[Texts]) -> list[tuple[token_loss.Losses, int]]:
        """The losses of each row, and how many tokens the model was shown for it."""
        found = token_loss.conversation_losses(
            self.model, [self._examples(texts) for texts in rows], context=self.context
        )
        return [(losses, losses.shown) for losses in found]

    def _examples(self, texts: Texts) -> list[token_loss.Example]:
        """The answers of a row; none where the chat template refuses its conversation."""
        try:
            return [
                token_loss.Example(self.ids.prompt(before), self.ids.data(answer))
                for before, answer in _exchanges(texts, has_template=self.ids.has_template)
            ]
        except UnwritableError:
            if not texts.messages:
                raise
            return []


class LocalScorer:
    """Answers `score` calls from models on this machine; `load` gives them, one a fold."""

    def __init__(self, name: str, load: Callable[[], Sequence[Loaded]]) -> None:
        """`name` is what rows and the journal call the model; it is loaded when first needed."""
        self.name = name
        self._load = load
        self._models: Sequence[Loaded] = ()
        self._loading = asyncio.Lock()
        self._batches = Batches(self._measure, most=MOST, cannot=f"{name} cannot measure")

    async def check(self) -> None:
        """Nothing is asked; a model is loaded, or trained, once the first row waits."""

    async def send(self, call: Call) -> Received:
        """The losses of one row, which is measured with those that wait beside it."""
        if call.kind != "score":
            raise TeacherError(f"{self.name} measures token loss and answers no {call.kind}.")
        async with self._loading:
            if not self._models:
                self._models = await asyncio.to_thread(self._load)
        body = call.body
        messages = tuple(body.get("messages") or ())
        texts = Texts(body["instruction"], body["input"], body["output"], messages)
        return await self._batches.ask(texts)

    async def close(self) -> None:
        """Wait for the batch that is being measured, and let go of the models."""
        await self._batches.finish()
        self._models = ()

    def _measure(self, rows: Sequence[Texts]) -> list[bytes]:
        found: list[bytes] = [b""] * len(rows)
        for number, loaded in enumerate(self._models):
            n = len(self._models)
            places = [at for at, texts in enumerate(rows) if fold(texts, n) == number]
            if not loaded.has_learned:
                nothing = token_loss.Losses(None, None, tokens=0, cut=0)
                for at in places:
                    found[at] = envelope(self.name, nothing, 0, why=NO_OTHER_ROWS)
                continue
            measured = loaded.measure([rows[at] for at in places])
            for at, (losses, shown) in zip(places, measured, strict=True):
                found[at] = envelope(self.name, losses, shown)
        return found


def fold(texts: Texts, folds: int) -> int:
    """Which model measures a row: by instruction and input, so that equal tasks stay together.

    A row without either is a text of its own.
    """
    task = texts[:2] if any(texts[:2]) else texts[2:3]
    digest = hashlib.blake2b("\x1f".join(task).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % folds


def envelope(name: str, losses: token_loss.Losses, shown: int, *, why: str = "") -> bytes:
    """A measurement as a reply's JSON body; `why` names what kept the row from being measured."""
    tree: Mapping[str, Any] = {
        "object": "score",
        "model": name,
        "loss": losses.given,
        "loss_alone": losses.alone,
        "tokens": losses.tokens,
        "cut": losses.cut,
        "usage": {"prompt_tokens": max(shown, 1), "completion_tokens": 0},
    }
    if why:
        tree = {**tree, "not_measured": why}
    return json.dumps(tree, ensure_ascii=False).encode()


def load_folder(folder: Path, context: int | None = None) -> list[Loaded]:
    """The causal language model of a transformers folder, in bfloat16 on a GPU, else in float32.

    Raises `TeacherError` where there is none that can be loaded safely.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not any(folder.glob("*.safetensors")):
        raise TeacherError(
            f"{folder} holds no weights in safetensors: save the model anew, others are not read."
        )
    has_gpu = torch.cuda.is_available()
    with loading(folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.bfloat16 if has_gpu else torch.float32,
        )
    model.to(torch.device("cuda" if has_gpu else "cpu")).train(mode=False)
    reads = getattr(model.config, "max_position_embeddings", None) or 1024
    return [Loaded(model, PromptIds(tokenizer), min(context or reads, reads))]


def is_trained(folder: Path) -> bool:
    """Whether `folder` holds the tiny models already, whole."""
    return (folder / "done").is_file()


def load_or_train(
    folder: Path, rows: Callable[[], Iterable[Texts]], *, seed: int, steps: int = STEPS
) -> list[Loaded]:
    """The tiny models of a run, trained on its rows where `folder` does not hold them yet.

    There are two, and each trains on the rows that the other measures (`fold`), so that no row is
    measured by weights that saw it. Both share one vocabulary, learned from a sample of all rows:
    losses by tokens of different vocabularies could not be compared. Where one has no answer to
    learn from (a single row, or the same instruction in all of them), it measures nothing.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    size = tiny.Size()
    if not is_trained(folder):
        sample = _sample(rows(), seed)
        tokenizer = tiny.make_tokenizer(
            (text for one in sample for text in one.all() if text), size
        )
        ids = PromptIds(tokenizer)
        for number in range(FOLDS):
            others = [texts for texts in sample if fold(texts, FOLDS) != number]
            model = tiny.make_model(tokenizer, size, seed + number)
            has_answers = any(texts.output or texts.messages for texts in others)
            if has_answers:
                sequences = [_written(ids, texts) for texts in others]
                tiny.train(model, sequences, seed=seed + number, steps=steps)
            tiny.save(folder / str(number), model, tokenizer)
            if not has_answers:
                (folder / str(number) / UNTAUGHT).touch()
        (folder / "done").touch()
    return [
        replace(loaded, has_learned=not (folder / str(number) / UNTAUGHT).exists())
        for number in range(FOLDS)
        for loaded in load_folder(folder / str(number))
    ]


def _written(ids: PromptIds, texts: Texts) -> list[int]:
    """A row as the tiny model reads it."""
    answers = _exchanges(texts, has_template=ids.has_template)
    before, answer = answers[-1] if answers else (texts.messages, "")
    return [*ids.prompt(before), *ids.data(answer)]


def _sample(rows: Iterable[Texts], seed: int) -> list[Texts]:
    """At most `READ` rows, each with the same chance, in their order."""
    rng = Random(seed)
    kept: list[tuple[int, Texts]] = []
    for number, texts in enumerate(rows):
        if number < READ:
            kept.append((number, texts))
        elif (at := rng.randrange(number + 1)) < READ:
            kept[at] = (number, texts)
    return [texts for _, texts in sorted(kept, key=lambda entry: entry[0])]
