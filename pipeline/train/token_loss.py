"""The mean token loss of an answer, given its prompt and alone, under a causal language model.

With s the mean cross-entropy in nats over an answer's tokens (no end token among them):
conditional perplexity is exp(s(A|Q)); the IFD of Li et al. 2023 (Cherry, arXiv:2308.12032) is
s(A|Q) / s(A); that of Superfiltering (arXiv:2402.00530) is exp(s(A|Q) - s(A)). Both losses are
taken over the same tokens: "alone" leaves of the prompt only its first token, which is bos or
what a chat template begins with. An answer that does
not fit into the context beside its prompt is cut there, for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**22
"""The most logits of one batch: 16 MiB in float32."""


@dataclass(frozen=True, slots=True)
class Example:
    """One answer to measure: the ids of its prompt, at least one, and of the answer."""

    prompt: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True, slots=True)
class Losses:
    """What was measured: mean losses in nats, null where no token was; tokens measured and cut."""

    given: float | None
    alone: float | None
    tokens: int
    cut: int


def losses(model: PreTrainedModel, examples: Sequence[Example], *, context: int) -> list[Losses]:
    """Measure each example, in order; `context` is the most tokens that the model reads."""
    fitted = [_fit(example, context) for example in examples]
    sequences: list[tuple[list[int], int]] = []
    for example, answer in zip(examples, fitted, strict=True):
        if answer:
            sequences.append(([*example.prompt, *answer], len(example.prompt)))
            sequences.append(([example.prompt[0], *answer], 1))
    sums = iter(_sums(model, sequences))
    found = []
    for example, answer in zip(examples, fitted, strict=True):
        n, cut = len(answer), len(example.answer) - len(answer)
        given, alone = (next(sums) / n, next(sums) / n) if n else (None, None)
        found.append(Losses(given, alone, n, cut))
    return found


def _fit(example: Example, context: int) -> list[int]:
    """The answer's tokens that fit beside the prompt; none where the prompt fills the context."""
    return list(example.answer[: max(context - len(example.prompt), 0)])


def _sums(model: PreTrainedModel, sequences: Sequence[tuple[list[int], int]]) -> list[float]:
    """The summed loss of each sequence's tokens from `start` on."""
    import torch
    from torch.nn.functional import cross_entropy

    found = [0.0] * len(sequences)
    device = model.device
    most = max(LOGITS // model.config.vocab_size, 1)
    with torch.inference_mode():
        for batch in _batches([len(ids) for ids, _ in sequences], most):
            width = max(len(sequences[at][0]) for at in batch)
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            mask = torch.zeros((len(batch), width), dtype=torch.long)
            labels = torch.full((len(batch), width), -100, dtype=torch.long)
            for row, at in enumerate(batch):
                tokens, start = sequences[at]
                ids[row, : len(tokens)] = torch.tensor(tokens)
                mask[row, : len(tokens)] = 1
                labels[row, start : len(tokens)] = ids[row, start : len(tokens)]
            logits = model(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).logits
            wanted = labels[:, 1:].to(device)
            is_answer = wanted != -100
            lost = torch.zeros(wanted.shape, dtype=torch.float64, device=device)
            lost[is_answer] = cross_entropy(
                logits[:, :-1][is_answer].float(), wanted[is_answer], reduction="none"
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
