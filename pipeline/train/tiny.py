"""A small causal language model made from a configuration: no download, 200,000 or 340,000 weights.

It measures difficulty where no model is named, and stands in for a real one wherever only the
machinery matters. Byte-level BPE, so that any text can be written; a chat template with generation
markers; Llama's architecture with heads of 32, which every server accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}{%- if m.role == 'assistant' %}"
    "{% generation %}{{- m.content + '<|im_end|>' }}{% endgeneration %}{{- '\n' }}"
    "{%- else %}{{- m.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


@dataclass(frozen=True, slots=True)
class Size:
    """How large: words in the vocabulary, width, layers, and the most tokens that are read.

    `tied` says that a token is read and written by the same weights. A model that is pre-trained on
    answers alone pushes all other tokens away, and where it is tied reads them as one and the same:
    nothing that it is told can be learned afterwards.
    """

    vocabulary: int = 2048
    width: int = 64
    layers: int = 2
    context: int = 512
    tied: bool = True


def make_tokenizer(texts: Iterable[str], size: Size) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary was learned from `texts`; the same texts give the same one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        special_tokens=[END, START, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        eos_token=STOP,
        pad_token=END,
        additional_special_tokens=[START],
        model_max_length=size.context,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast, size: Size, seed: int) -> PreTrainedModel:
    """A model with weights drawn from `seed`; the caller's own random numbers are left alone."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // 32,
        num_key_value_heads=max(size.width // 64, 1),
        max_position_embeddings=size.context,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=size.tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config
        )
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def train(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    *,
    seed: int,
    steps: int,
    batch: int = 16,
    rate: float = 3e-3,
    width: int = 256,
    told: Callable[[int], None] = lambda step: None,
) -> float:
    """Train on sequences of ids, drawn with replacement, for a fixed number of steps.

    Sequences are cut at `width` tokens; the learning rate falls to zero. Gives the mean loss of the
    last tenth of the steps. The same arguments on the same machine give the same weights.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rng = Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    model.train()
    seen: list[float] = []
    for step in range(steps):
        told(step)
        chosen = [list(rng.choice(sequences))[:width] for _ in range(batch)]
        longest = max(map(len, chosen))
        ids = torch.zeros((batch, longest), dtype=torch.long)
        labels = torch.full((batch, longest), -100, dtype=torch.long)
        for row, tokens in enumerate(chosen):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, 1 : len(tokens)] = ids[row, 1 : len(tokens)]
        mask = torch.arange(longest) < torch.tensor([[len(tokens)] for tokens in chosen])
        logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        lost = cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)
        )
        optimizer.zero_grad()
        lost.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        falling.step()
        seen.append(lost.item())
    model.train(mode=False)
    last = seen[-max(steps // 10, 1) :]
    return sum(last) / len(last)


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write both into a folder that transformers, vLLM and `hf:FOLDER` load; safetensors alone."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
