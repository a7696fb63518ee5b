"""The mean token loss of an answer, given its prompt and alone, under a causal language model.

With s the mean cross-entropy in nats over an answer's tokens (no end token among them):
conditional perplexity is exp(s(A|Q)); the IFD of Li et al. 2023 (Cherry, arXiv:2308.12032) is
s(A|Q) / s(A); that of Superfiltering (arXiv:2402.00530) is exp(s(A|Q) - s(A)). Both losses are
taken over the same tokens: "alone" leaves of the prompt only its first token, which is bos or what
a chat template begins with. An answer that does not fit into the context beside its prompt is cut
there, for both.

Of a conversation every answer is measured, given all that was said before it, and alone; the means
are over the tokens of all answers, so that each token counts once. Where the prompt of an answer
goes on from the one before it, as chat templates mostly write it, one forward pass measures both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.teacher.answer_passes import Pass, alone_passes, given_passes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS, LOGITS_ON_GPU = 2**22, 2**28
"""The most logits of one batch: 16 MiB in float32 on a processor, 1 GiB on a GPU."""


@dataclass(frozen=True, slots=True)
class Example:
    """One answer to measure: the ids of its prompt, at least one, and of the answer."""

    prompt: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True, slots=True)
class Losses:
    """What was measured: mean losses in nats, null where no token was; tokens measured and cut.

    `shown` are the tokens that the model read for it.
    """

    given: float | None
    alone: float | None
    tokens: int
    cut: int
    shown: int = 0


def conversation_losses(
    model: PreTrainedModel, conversations: Sequence[Sequence[Example]], *, context: int
) -> list[Losses]:
    """Measure each conversation, in order: its answers, each with all that stands before it."""
    passes: list[Pass] = []
    halves = []
    for answers in conversations:
        fitted = [(example.prompt, _fit(example, context)) for example in answers]
        measured = [(prompt, answer) for prompt, answer in fitted if answer]
        both = given_passes(measured), alone_passes(measured)
        passes += both[0] + both[1]
        n = sum(len(answer) for _, answer in measured)
        cut = sum(len(example.answer) for example in answers) - n
        halves.append((*both, n, cut))
    sums = iter(summed_losses(model, passes))
    found = []
    for given, alone, n, cut in halves:
        shown = sum(len(ids) for ids, _ in given + alone)
        lost, lost_alone = (sum(next(sums) for _ in half) for half in (given, alone))
        if n:
            found.append(Losses(lost / n, lost_alone / n, n, cut, shown))
        else:
            found.append(Losses(None, None, 0, cut))
    return found


def _fit(example: Example, context: int) -> list[int]:
    """The answer's tokens that fit beside the prompt; none where the prompt fills the context."""
    return list(example.answer[: max(context - len(example.prompt), 0)])


def summed_losses(model: PreTrainedModel, sequences: Sequence[Pass]) -> list[float]:
    """The summed loss of the tokens that count, in nats, a pass each."""
    import torch
    from torch.nn.functional import cross_entropy

    found = [0.0] * len(sequences)
    device = model.device
    at_once = LOGITS if device.type == "cpu" else LOGITS_ON_GPU
    most = max(at_once // model.config.vocab_size, 1)
    with torch.inference_mode():
        for batch in _batches([len(ids) for ids, _ in sequences], most):
            width = max(len(sequences[at][0]) for at in batch)
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            mask = torch.zeros((len(batch), width), dtype=torch.long)
            labels = torch.full((len(batch), width), -100, dtype=torch.long)
            for row, at in enumerate(batch):
                tokens, spans = sequences[at]
                ids[row, : len(tokens)] = torch.tensor(tokens)
                mask[row, : len(tokens)] = 1
                for start, end in spans:
                    labels[row, start:end] = ids[row, start:end]
            logits = model(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).logits  # virtual tokens of an adapter have theirs before
            wanted = labels[:, 1:].to(device)
            is_answer = wanted != -100
            lost = torch.zeros(wanted.shape, dtype=torch.float64, device=device)
            lost[is_answer] = cross_entropy(
                logits[:, -width:-1][is_answer].float(), wanted[is_answer], reduction="none"
            ).double()
            for at, total in zip(batch, lost.sum(dim=1).tolist(), strict=True):
                found[at] = total
    return found


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of sequences of like length, longest first; padded, a batch has `most` tokens or 1."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
