"""Every column of a row, once: its type and what it means.

A shard holds the columns that exist so far in this order; a dropped shard holds the same and the
three `drop_` columns. The schema's version is written into every shard. Adding a nullable column
keeps the version; renaming or retyping one raises it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

VERSION = 1
"""Version of the row schema, in the Parquet metadata under `synth.schema`."""

REQUEST = pa.struct(
    [
        ("stage", pa.string()),
        ("key", pa.string()),
        ("template", pa.string()),
        ("model", pa.string()),
    ]
)

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
"""One turn of a conversation; the role is system, user, assistant or tool."""

RATING = pa.struct(
    [
        ("dimension", pa.string()),
        ("rating", pa.float64()),
        ("votes", pa.list_(pa.float64())),
        ("reason", pa.string()),
    ]
)

ANSWER = pa.struct([("source", pa.string()), ("text", pa.string())])
"""One of several answers to a row, and the name of the field that it came from."""

FIELD = pa.struct([("name", pa.string()), ("text", pa.string())])
"""One field of a row as its data set has it: its name, and what it holds as text."""

COMPARISON = pa.struct(
    [
        ("first", pa.string()),
        ("second", pa.string()),
        ("preferred", pa.string()),
        ("is_flipped", pa.bool_()),
    ]
)

EVALUATION = pa.struct(
    [
        ("model", pa.string()),
        ("answer", pa.string()),
        ("tokens", pa.int64()),
        ("finish", pa.string()),
        ("loss", pa.float64()),
        ("loss_tokens", pa.int64()),
        ("rouge1", pa.float64()),
        ("rouge2", pa.float64()),
        ("rougeL", pa.float64()),
        ("bleu_counts", pa.list_(pa.int64())),
        ("is_exact", pa.bool_()),
        ("label", pa.string()),
        ("repetition", pa.float64()),
        ("is_continuation", pa.bool_()),
    ]
)
"""What one model made of a row: `base`, `adapter` or `other`, its answer, and what was measured of
it; nulls where the row has no reference. `label` is that of a classification."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type and what a value means."""

    type: pa.DataType
    meaning: str


COLUMNS: dict[str, Column] = {
    "row_id": Column(
        pa.string(), "stage, slot and item of the row; readable, stable, unique in its stage"
    ),
    "origin": Column(pa.string(), "seed, teacher or import: who wrote the instruction"),
    "teacher": Column(pa.string(), "the model that wrote the newest text of the row"),
    "source": Column(pa.string(), "the seed file or data set that the row goes back to"),
    "license": Column(
        pa.string(), "the licence of that source, as the data or the recipe names it"
    ),
    "data_set": Column(
        pa.string(), "which of the data sets that were taken in the row is of (import.sets)"
    ),
    "root_id": Column(pa.string(), "the task that the row descends from; splits keep it together"),
    "parent_id": Column(pa.string(), "the row that this one was made from; null for a root"),
    "round": Column(pa.int64(), "the round of evolution that made it; 0 for what it began with"),
    "operation": Column(pa.string(), "how the row was rewritten from its parent; null for a root"),
    "instruction": Column(pa.string(), "what to do"),
    "input": Column(pa.string(), "the text to do it on; empty where none is needed"),
    "output": Column(pa.string(), "the answer"),
    "other_output": Column(pa.string(), "another answer, to be compared with the first"),
    "answers": Column(
        pa.list_(ANSWER),
        "several answers to be compared, each under the name of the field that it came from",
    ),
    "fields": Column(
        pa.list_(FIELD),
        "labelled data: the fields that `import.fields` names, as text; what the templates of "
        "`format` are given",
    ),
    "messages": Column(
        pa.list_(MESSAGE),
        "the whole conversation where it is more than instruction and output, which then are its "
        "first user turn and the answer to that",
    ),
    "output_constraints": Column(
        pa.string(), "what the output has to keep to; empty where nothing was said"
    ),
    "reasoning": Column(pa.string(), "the chain of thought before the output; null without one"),
    "reference": Column(pa.string(), "the right answer, where one is known"),
    "final_answer": Column(
        pa.string(), "what the output comes to; null where nothing can be compared"
    ),
    "votes": Column(pa.int64(), "how many samples of the answer came to a final answer"),
    "agreement": Column(
        pa.float64(), "the share of the votes for the final answer, 0 to 1; null without votes"
    ),
    "pair_rating": Column(
        pa.int64(),
        "how well the output answers the instruction, 1 to 5; null where no number was given",
    ),
    "is_classification": Column(
        pa.bool_(), "whether the task chooses among few labels; decides how instances are asked for"
    ),
    "domain": Column(pa.string(), "what field the row is of (tag): code, math, medicine, ..."),
    "task_type": Column(
        pa.string(), "what it asks for (tag): classification, summary, open question, ..."
    ),
    "language": Column(
        pa.string(),
        "the language of the instruction (tag), ISO 639-1; null where it cannot be told",
    ),
    "shown": Column(pa.list_(pa.string()), "ids of the tasks shown in the request, in their order"),
    "templates": Column(
        pa.list_(pa.string()),
        "the templates of `format` that rendered the row, as file/template@version, in the order "
        "they were applied; empty where it went on as it was",
    ),
    "demonstrations": Column(
        pa.list_(pa.string()),
        "ids of the rows that the instruction shows as demonstrations, in their order: the most "
        "similar last",
    ),
    "nearest_id": Column(
        pa.string(), "the pool member with the highest ROUGE-L when the row was judged"
    ),
    "nearest_score": Column(pa.float64(), "ROUGE-L F1 with that member, 0 to 1"),
    "embedding": Column(
        pa.list_(pa.float32()), "the vector of the row's text, of the length that its model gives"
    ),
    "perplexity": Column(
        pa.float64(),
        "exp of the mean token loss of the output given the instruction; of a conversation, of all "
        "its answers, each given what is before it",
    ),
    "ifd": Column(
        pa.float64(), "loss of the output given the instruction over its loss alone (Cherry)"
    ),
    "ifd_perplexity": Column(
        pa.float64(),
        "the same ratio of perplexities (Superfiltering): exp of the losses' difference",
    ),
    "scored_tokens": Column(pa.int64(), "tokens of the output that the scorer measured"),
    "cut_tokens": Column(pa.int64(), "tokens of the output that did not fit into its context"),
    "not_measured": Column(
        pa.string(),
        "why the row has no perplexity: no_output, prompt_fills_the_context, template_refuses (its "
        "conversation), no_other_rows_to_learn_from (the tiny model) or perplexity_too_high (no "
        "number holds it); null where it has one",
    ),
    "rating": Column(
        pa.float64(),
        "a judge's number, 0 to 5: the lowest of the dimensions, each the median of its votes",
    ),
    "rating_reason": Column(pa.string(), "what the judge said of that dimension"),
    "ratings": Column(
        pa.list_(RATING), "every dimension that was rated: its median, its votes and a reason"
    ),
    "quality": Column(
        pa.float64(),
        "how sure a classifier is that the row is good, 0 to 1, as it learned from labelled rows",
    ),
    "preferred": Column(
        pa.string(),
        "which answer a judge prefers in both orders: output, other_output or tie; of several "
        "answers the source that did best in its comparisons, or tie",
    ),
    "is_flipped": Column(pa.bool_(), "whether its verdict turned when the answers changed places"),
    "comparisons": Column(
        pa.list_(COMPARISON),
        "of several answers each pair that was judged: the source preferred in both orders or tie, "
        "null without a verdict, and whether that turned",
    ),
    "masked": Column(
        pa.list_(pa.string()),
        "the kinds of personal data and secrets that stand masked in the row's texts; empty where "
        "none does, null where nothing was asked for",
    ),
    **{
        name: Column(pa.float64(), f"how sure a classifier is of {what}, 0 to 1, in its worst text")
        for name, what in {
            "toxicity": "toxicity of any kind",
            "severe_toxicity": "severe toxicity",
            "obscene": "obscenity",
            "threat": "a threat",
            "insult": "an insult",
            "identity_hate": "hate of a group of people",
        }.items()
    },
    "personal_data": Column(
        pa.list_(pa.string()),
        "the kinds of personal data in the row's texts, where the rule flags; empty where none is",
    ),
    "secrets": Column(
        pa.list_(pa.string()),
        "the kinds of secrets in the row's texts, where the rule flags; empty where none is",
    ),
    "verdict": Column(
        pa.string(), "what people said of the row (synth review): good, bad or unsure"
    ),
    "reviewer": Column(pa.string(), "who said so, all of them"),
    "verdict_time": Column(pa.string(), "when the last of them did, ISO 8601"),
    "copies": Column(
        pa.int64(), "how many times the row stands in the mixture (mix), and so in data/"
    ),
    "curriculum": Column(
        pa.int64(), "the place of the row in the order that training shows rows in (order), 0 first"
    ),
    "phase": Column(pa.int64(), "the phase of the curriculum that the row is of (order), 0 first"),
    "tokens": Column(pa.int64(), "tokens of the row as the model was trained on it (sft)"),
    "learned_tokens": Column(pa.int64(), "those of them that a loss was taken of: the answers'"),
    "held_out": Column(pa.bool_(), "whether the row was held out from training, for validation"),
    "wanted_label": Column(
        pa.string(), "the label that is right, of a classification that was evaluated (evaluate)"
    ),
    "evaluations": Column(
        pa.list_(EVALUATION),
        "what each model of an evaluation answers, and what was measured of it (evaluate); null "
        "where the row was not asked about",
    ),
    "not_evaluated": Column(
        pa.string(),
        "why it was not: trained_on, template_refuses or prompt_fills_the_context; null where it "
        "was",
    ),
    "not_judged": Column(
        pa.string(),
        "why a judge's verdict on two models' answers is lacking (win-rate); null where there is "
        "one, and where none was asked for",
    ),
    "requests": Column(
        pa.list_(REQUEST), "the requests that made the row: stage, journal key, template, model"
    ),
    "drop_reason": Column(pa.string(), "the rule that dropped the row"),
    "drop_detail": Column(pa.string(), "what was measured, for a person to agree or object"),
    "drop_ref": Column(pa.string(), "the row or benchmark item that it met"),
    "drop_similarity": Column(
        pa.float64(),
        "how alike the two are, 0 to 1: ROUGE-L F1, Jaccard similarity or cosine, as drop_detail "
        "says; null where nothing of the kind was measured",
    ),
}

DROP_COLUMNS = ("drop_reason", "drop_detail", "drop_ref", "drop_similarity")


VERDICT_COLUMNS = ("verdict", "reviewer", "verdict_time")
"""What `import` adds to the rows of a run that people have marked."""


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The given column names, each once, in the order of the schema."""
    wanted = set(names)
    unknown = wanted - COLUMNS.keys()
    if unknown:
        raise KeyError(f"not in the schema: {', '.join(sorted(unknown))}")
    return tuple(name for name in COLUMNS if name in wanted)


def arrow_schema(names: Iterable[str]) -> pa.Schema:
    """The Arrow schema of the given columns, in schema order, with each column's meaning."""
    fields = [
        pa.field(name, COLUMNS[name].type, metadata={"meaning": COLUMNS[name].meaning})
        for name in in_order(names)
    ]
    return pa.schema(fields, metadata={"synth.schema": str(VERSION)})
