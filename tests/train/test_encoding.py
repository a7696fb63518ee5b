"""Conversations as ids and labels: what a template writes, what is learned, what is only text."""

from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra 'train' is not installed")

from pipeline.errors import InputError
from pipeline.train import tiny
from pipeline.train.encoding import IGNORED, Encoder
from pipeline.train.prompt_ids import UnwritableError

WORDS = "hello world the cat sat on a mat user assistant system be kind text 0 1 2 3 x y z"
MARKS = ("<|eot|>", "<|head|>", "<|/head|>", "<|begin|>")

CHATML = tiny.TEMPLATE
CHATML_BARE = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
HEADERS = (
    "{{- '<|begin|>' }}{%- for m in messages %}"
    "{{- '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim + '<|eot|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\n\n' }}{%- endif %}"
)
DEFAULT_SYSTEM = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nYou help.<|im_end|>\n' }}"
    "{%- endif %}" + CHATML_BARE
)
THINKING = CHATML_BARE.replace(
    "{{- m.content",
    "{%- if loop.last and m.role == 'assistant' %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- m.content",
)
TURNS = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hello world"},
    {"role": "assistant", "content": "the cat"},
    {"role": "user", "content": "x y"},
    {"role": "assistant", "content": "sat on a mat"},
]


def tokenizer(template: str) -> Any:
    found = tiny.make_tokenizer([WORDS] * 3, tiny.Size())
    found.add_special_tokens({"additional_special_tokens": [tiny.START, *MARKS]})
    found.chat_template = template
    return found


def learned(found: Any, labels: list[int]) -> str:
    return str(found.decode([label for label in labels if label != IGNORED]))


@pytest.mark.parametrize(
    ("template", "end"),
    [(CHATML, "<|im_end|>"), (CHATML_BARE, "<|im_end|>"), (HEADERS, "<|eot|>"),
     (DEFAULT_SYSTEM, "<|im_end|>")],
    ids=["chatml", "chatml_without_markers", "headers", "default_system"],
)  # fmt: skip
@pytest.mark.parametrize("turns", [TURNS, TURNS[1:], TURNS[1:3]], ids=["whole", "bare", "single"])
def test_every_answer_and_what_ends_it_is_learned(
    template: str, end: str, turns: list[dict[str, str]]
) -> None:
    found = tokenizer(template)
    encoded = Encoder(found).encode(turns)
    expected = found.apply_chat_template(turns)["input_ids"]
    assert encoded.ids == expected, "the ids that the tokenizer itself gives"
    answers = [turn["content"] + end for turn in turns if turn["role"] == "assistant"]
    assert learned(found, encoded.labels) == "".join(answers)
    assert [a for a, b in zip(encoded.ids, encoded.labels, strict=True) if b not in (a, -100)] == []


def test_what_a_template_has_a_model_write_before_an_answer_is_learned() -> None:
    found = tokenizer(THINKING)
    encoded = Encoder(found).encode(TURNS)
    assert encoded.ids == found.apply_chat_template(TURNS)["input_ids"]
    thought = "<think>\n\n</think>\n\n"
    assert learned(found, encoded.labels) == f"the cat<|im_end|>{thought}sat on a mat<|im_end|>"


def test_of_several_templates_the_one_for_conversations_is_taken() -> None:
    found = tokenizer(CHATML)
    expected = Encoder(found).encode(TURNS)
    found.chat_template = {"default": CHATML, "tool_use": HEADERS}
    assert Encoder(found).encode(TURNS) == expected
    found.chat_template = {"rag": CHATML, "tool_use": HEADERS}
    with pytest.raises(InputError, match="several chat templates and none called 'default'"):
        Encoder(found)


def test_labels_are_those_of_the_generation_markers() -> None:
    found = tokenizer(CHATML)
    theirs = found.apply_chat_template(TURNS, return_dict=True, return_assistant_tokens_mask=True)
    masked = [
        number if is_answer else IGNORED
        for number, is_answer in zip(theirs["input_ids"], theirs["assistant_masks"], strict=True)
    ]
    assert Encoder(found).encode(TURNS).labels == masked


@pytest.mark.parametrize("template", [CHATML, CHATML_BARE, HEADERS])
@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|eot|>", "<|endoftext|>"])
def test_control_tokens_in_the_data_are_text(template: str, token: str) -> None:
    found = tokenizer(template)
    number = found.convert_tokens_to_ids(token)
    clean, hostile = (
        [dict(turn, content=turn["content"] + more) for turn in TURNS] for more in ("", token)
    )
    encoder = Encoder(found)
    assert encoder.encode(hostile).ids.count(number) == encoder.encode(clean).ids.count(number)
    assert token in learned(found, encoder.encode(hostile).labels)


def test_what_is_cut_is_counted() -> None:
    found = tokenizer(CHATML)
    encoder = Encoder(found)
    whole = encoder.encode(TURNS)
    for most in (len(whole.ids), len(whole.ids) - 1, 30, 5):
        encoded = encoder.encode(TURNS, most)
        assert encoded.ids == whole.ids[:most]
        assert encoded.learned + encoded.cut == whole.learned
    assert encoder.encode(TURNS, 5).learned == 0


def test_all_text_can_be_learned() -> None:
    encoded = Encoder(tokenizer(HEADERS), answers_only=False).encode(TURNS)
    assert encoded.labels == encoded.ids


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (None, "has no chat template"),
        ("{%- for m in messages %}{{- m.role + ': ' + m.content + '\n' }}{%- endfor %}",
         "ends an answer with no special token"),
        (CHATML.replace("{{- m.content + '<|im_end|>' }}{% endgeneration %}",
                        "{% endgeneration %}{{- m.content + '<|im_end|>' }}"),
         "do not stand round the answers"),
        (CHATML_BARE.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\nthe '"),
         "what it does not write to ask for one"),
    ],
    ids=["none", "no_end", "markers_elsewhere", "other_prompt"],
)  # fmt: skip
def test_templates_that_cannot_be_learned_from(template: str | None, told: str) -> None:
    found = tokenizer(CHATML)
    found.chat_template = template
    with pytest.raises(InputError, match=told):
        Encoder(found)


def test_turns_that_a_template_refuses() -> None:
    found = tokenizer(
        "{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{%- endif %}"
        + CHATML_BARE
    )
    with pytest.raises(UnwritableError, match="no system"):
        Encoder(found).encode(TURNS)
    found.chat_template = CHATML_BARE.replace("in messages", "in messages[1:]")
    with pytest.raises((UnwritableError, InputError)):
        Encoder(found).encode(TURNS)


SPACED = (  # what surrounds the data is text, which its first word is one token with
    "{{ bos_token }}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{%- else %}{{ ' ' + m.content + eos_token }}"
    "{%- endif %}{%- endfor %}"
)


def spaced(scheme: str | None) -> Any:
    """A tokenizer whose words begin with their space: as SentencePiece's, or of bytes (null)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if scheme is None:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        inner.decoder = decoders.Metaspace(prepend_scheme=scheme)
        alphabet = sorted(set(f"{WORDS}[INST]/<>|s\n"))
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet
    )
    inner.train_from_iterator([f"[INST] {WORDS} [/INST]"] * 5, trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    found.chat_template = SPACED
    return found


@pytest.mark.parametrize("scheme", [None, "never", "first", "always"])
def test_where_template_and_data_meet_the_ids_are_the_tokenizers_own(scheme: str | None) -> None:
    found = spaced(scheme)
    encoder = Encoder(found)
    encoded = encoder.encode(TURNS[1:])
    assert encoded.ids == found.apply_chat_template(TURNS[1:])["input_ids"]
    told = learned(found, encoded.labels).replace("</s>", " </s> ")
    assert " ".join(told.split()) == "the cat </s> sat on a mat </s>"
    asked = encoder.prompt(TURNS[1:4])
    assert asked == encoded.ids[: len(asked)], "a model is asked what it was trained on"
    assert IGNORED not in encoded.labels[len(asked) :]
    hostile = [dict(turn, content=f"{turn['content']}</s>") for turn in TURNS[1:]]
    ended = encoder.encode(hostile)
    assert ended.ids.count(found.eos_token_id) == encoded.ids.count(found.eos_token_id)
