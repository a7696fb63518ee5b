"""Render rows as training rows: tasks by templates, shares with steps and with demonstrations.

Source: Longpre et al. 2023, "The Flan Collection" (arXiv:2301.13688), section 3: prompts without
demonstrations, with some, and with a chain of thought are mixed in one set, over several templates
a task, some of them from the output to the input. A row that is rendered is a new row with the
received one as its parent; the others go on as they are, and so do conversations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from filters.shingles import folded
from pipeline.format_templates import Form, FormatTemplate, Rendered
from pipeline.stage import Drop, RenderStage, Row
from pipeline.stages.all_turns import TEXTS
from pipeline.stages.demonstrations import rank
from pipeline.stages.format_plan import Plan, is_conversation, plan, rationale_of, why_not
from pipeline.stages.format_settings import STEPS, Config, files, is_idle
from pipeline.stages.row_values import COLUMNS, Language, RowValues, language_of
from pipeline.templates import FAILURES


def render(place: int, row: Row, made: Plan) -> list[Row | Drop]:
    """The rows that are made of the one at `place`, or the row itself, or why there is neither."""
    config = made.config
    if is_conversation(row):
        return [_as_it_is(row)]
    picked = made.picked.get(place)
    entries: list[Row | Drop] = []
    item = 0
    if isinstance(picked, tuple):
        for template in picked:
            entries.append(_one(row, template, f"{row['row_id']}:{item}", made))
            item += 1
    elif isinstance(picked, Drop) and not config.keep_received:
        return [_of_row(picked, row)]
    if picked is None or config.keep_received:
        why = why_not(row)
        if why is None:
            entries.append(_one(row, None, f"{row['row_id']}:{item}", made))
        elif not entries:
            return [_of_row(picked if isinstance(picked, Drop) else why, row)]
    return entries


def _as_it_is(row: Row) -> Row:
    return {"row_id": row["row_id"], **_before(row)}


def _before(row: Row) -> dict[str, list[str]]:
    """What rendered the row before, in another run."""
    return {name: list(row.get(name) or []) for name in ("templates", "demonstrations")}


def _of_row(why: Drop, row: Row) -> Drop:
    return Drop(why.reason, why.detail, row=_as_it_is(row))


def _one(row: Row, template: FormatTemplate | None, name: str, made: Plan) -> Row | Drop:
    """One row that is made: by a template of a task or of its own texts; steps; demonstrations."""
    language = made.config.language or language_of(row)
    has_steps = name in made.with_steps
    found = _rendered(row, template, name, language, made, has_steps=has_steps)
    if isinstance(found, Drop):
        return found
    shown: list[str] = []
    if name in made.shown:
        found, shown = _with_shown(found, template, name, language, made, has_steps=has_steps)
    if not found.templates:
        return _as_it_is(row)
    texts = {"instruction": found.instruction, "input": found.input, "output": found.output}
    before = _before(row)
    return texts | {
        "templates": [*before["templates"], *found.templates],
        "demonstrations": [*before["demonstrations"], *shown],
    }


def _rendered(
    row: Row,
    template: FormatTemplate | None,
    name: str,
    language: Language,
    made: Plan,
    *,
    has_steps: bool,
) -> Rendered | Drop:
    """A row's texts before any demonstration, or why there are none."""
    found = Rendered(row["instruction"] or "", row["input"] or "", row["output"] or "")
    try:
        if template is not None:
            values = RowValues(row, made.given, language).all_of(template.used)
            if values is None:
                return Drop("does_not_suit", template.label)
            found = template.render(values)
        if has_steps:
            steps = _draw(made.templates.steps, "plain", language, name, made)
            values = {
                "instruction": found.instruction,
                "input": found.input,
                "steps": rationale_of(row, made.config),
                "output": found.output,
            }
            found = steps.render(values, found.templates)
    except FAILURES as error:
        said = f"{type(error).__name__}: {str(error)[:200]}"
        return Drop("template_error", f"{template.label if template else STEPS}: {said}")
    for text in ("instruction", "output"):
        if not getattr(found, text):
            return Drop(f"empty_{text}", f"{', '.join(found.templates)} leaves it empty")
    return found


def _with_shown(
    own: Rendered,
    template: FormatTemplate | None,
    name: str,
    language: Language,
    made: Plan,
    *,
    has_steps: bool,
) -> tuple[Rendered, list[str]]:
    """The row after its demonstrations, the most similar last, and their ids."""
    usable: list[tuple[float, str, Rendered]] = []
    is_reversed = template is not None and template.form == "reversed"
    given_away = _key(own, is_reversed=is_reversed)
    for place, score in made.shown[name]:
        other = made.rows[place]
        found = _rendered(other, template, name, language, made, has_steps=has_steps)
        if isinstance(found, Drop) or _key(found, is_reversed=is_reversed) == given_away:
            continue
        usable.append((score, other["row_id"], found))
        if len(usable) == made.numbers[name]:
            break
    if not usable:
        return own, []
    usable.sort(key=lambda one: one[0])
    is_shared = bool(own.input) and all(
        one.input and one.instruction == own.instruction for _, _, one in usable
    )
    form: Form = "shared" if is_shared else "plain"
    if template is not None and template.form == "prefix" and not has_steps:
        form = "prefix"
    layout = _draw(made.templates.demonstrations, form, language, name, made)
    values = _texts(own) | {"shown": [_texts(one) for _, _, one in usable]}
    rendered = layout.render({key: values[key] for key in layout.used}, own.templates)
    return rendered, [row_id for _, row_id, _ in usable]


def _key(one: Rendered, *, is_reversed: bool) -> str:
    """What a demonstration must not have in common with its row: it would give the answer away.

    Many rows are asked the same where the output is the text: there it is the answer itself.
    """
    return " ".join(folded(one.output if is_reversed else one.question).split())


def _texts(one: Rendered) -> dict[str, Any]:
    return {
        "question": one.question,
        "answer": one.output,
        "instruction": one.instruction,
        "input": one.input,
        "output": one.output,
    }


def _draw(
    templates: Sequence[FormatTemplate], form: Form, language: Language, name: str, made: Plan
) -> FormatTemplate:
    """One template of a form, or of any where the form is lacking."""
    every = made.templates.in_language(templates, language)
    of_form = [one for one in every if one.form == form] or every
    return min(of_form, key=lambda one: rank(made.given.seed, f"layout:{one.label}", name))


def reads(config: Config) -> tuple[str, ...]:
    """The columns that are needed: the row's texts, and the one that the steps are in."""
    steps = (config.rationale,) if config.with_steps and config.rationale in COLUMNS else ()
    return tuple(dict.fromkeys(("row_id", "root_id", *TEXTS, *steps)))


def measure(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How many rows were rendered, in which way, and by which templates."""
    names = kept["templates"].explode().drop_nulls()
    counts = sorted(Counter(names.to_list()).items())
    has_steps = kept["templates"].list.eval(pl.element().str.starts_with(f"{STEPS}.")).list.any()
    return {
        "rows": kept.height,
        "rendered": int((kept["templates"].list.len() > 0).sum()),
        "with_steps": int(has_steps.sum()),
        "with_demonstrations": int((kept["demonstrations"].list.len() > 0).sum()),
        "templates": dict(counts),
    }


STAGE = RenderStage(
    name="format",
    version=1,
    summary="render rows by templates, with demonstrations, with steps; labelled data as tasks",
    config=Config,
    plan=plan,
    render=render,
    files=files,
    reads=reads,
    may_read=("messages", "fields", "reasoning", "reference", "embedding"),
    writes=("row_id", "parent_id", "instruction", "input", "output", "templates", "demonstrations"),
    said=lambda made: made.said,
    is_idle=is_idle,
    rows_a_row=lambda config: (
        config.rows_a_row * config.share + config.keep_received if config.tasks else 1.0
    ),
    measure=measure,
    measured=("templates", "demonstrations"),
)
