"""The report of an evaluation: its results as Markdown tables, models beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluate.results import ALL, Result

VERDICTS = " against "
SHOWN = ("loss", "rougeL", "bleu", "exact_match", "accuracy", "precision", "recall", "f1")
"""Metrics that are shown of a part of the rows; all of them are in the Parquet."""
MEANT = {
    "loss": "mean loss of the references' tokens, in nats",
    "perplexity": "exp of it",
    "rouge1": "F1 of ROUGE-1 with the reference, mean of the rows",
    "rouge2": "of ROUGE-2",
    "rougeL": "of ROUGE-L",
    "bleu": "of all rows together, 0 to 100",
    "exact_match": "share equal to the reference, but for case and punctuation",
    "accuracy": "share of classifications with the right label",
    "precision": "mean over the labels",
    "recall": "mean over the labels",
    "f1": "mean over the labels",
    "repetition": "share of runs of four words that came before in the answer",
    "continuation": "share of answers that go on with the task, or copy it",
    "tokens": "mean length of an answer",
    "cut_off": "share of answers that reached the limit",
}


def render(found: Sequence[Result], *, run: str, kin: str | None = None) -> str:
    """The whole report of the run of that name; `kin` is the judge's family, where it is biased."""
    lines = [f"# Evaluation of {run}", ""]
    plain = [one for one in found if VERDICTS not in one.model]
    lines += _table([one for one in plain if one.slice == ALL])
    for model in dict.fromkeys(one.model for one in found if VERDICTS in one.model):
        lines += ["", f"## {model}", "", "A tie is half a win.", ""]
        lines += [said_of_kin(kin), ""] if kin else []
        lines += ["| | rate | for equal length | rows |", "| --- | --- | --- | --- |"]
        of = [one for one in found if one.model == model]
        for part in dict.fromkeys(one.slice for one in of):
            here = {one.metric: one for one in of if one.slice == part}
            if (rate := here.get("win_rate")) is None:
                continue
            fair = here["win_rate_length_controlled"]
            error = "" if rate.standard_error is None else f" ± {rate.standard_error:.3f}"
            lines.append(
                f"| {_cell(part)} | {rate.value:.3f}{error} | {fair.value:.3f} | {rate.n} |"
            )
    parts = [one for one in dict.fromkeys(one.slice for one in plain) if "=" in one]
    sizes = [one for one in parts if one.startswith("size=")]
    if sizes:
        lines += ["", "## Loss by the share of the training rows", ""]
        lines += ["| share | rows trained on | loss |", "| --- | --- | --- |"]
        for part in sizes:
            here = {one.metric: one for one in plain if one.slice == part}
            n, loss = here["rows_trained"].value, here["loss"].value
            lines.append(f"| {part.removeprefix('size=')} | {n:.0f} | {loss:.4f} |")
    for column in dict.fromkeys(one.partition("=")[0] for one in parts if one not in sizes):
        values = [one for one in parts if one.partition("=")[0] == column]
        if len(values) > 1:  # a column with one value says once more what stands under all
            lines += ["", f"## By {_cell(column)}", ""]
            lines += _sliced([one for one in plain if one.slice in values])
    return "\n".join(lines) + "\n"


def _sliced(found: Sequence[Result]) -> list[str]:
    """One line a slice and model, with the metrics that say most."""
    shown = [one for one in SHOWN if any(result.metric == one for result in found)]
    lines = [f"| | model | rows | {' | '.join(shown)} |", f"| {'--- | ' * (len(shown) + 3)}"]
    lines[1] = lines[1].rstrip()
    for part, model in dict.fromkeys((one.slice, one.model) for one in found):
        here = {one.metric: one for one in found if (one.slice, one.model) == (part, model)}
        n = max(one.n for one in here.values())
        cells = [f"{here[name].value:.4g}" if name in here else "" for name in shown]
        value = _cell(part.partition("=")[2])
        lines.append(f"| {value} | {model} | {n} | {' | '.join(cells)} |")
    return lines


def said_of_kin(family: str) -> str:
    """What is said of a judge that is of the family of what it judges."""
    return (
        f"Judge and judged are of one family ({family}, by their names): a model tends to prefer "
        "answers like its own, so that the win rate may be too high. Name another judge (--judge)."
    )


def _table(found: Sequence[Result]) -> list[str]:
    """One line a metric, one column a model."""
    models = list(dict.fromkeys(one.model for one in found))
    values = {(one.metric, one.model): one for one in found}
    lines = [f"| metric | {' | '.join(models)} | rows | |", f"| {'--- | ' * (len(models) + 3)}"]
    lines[1] = lines[1].rstrip()
    for metric in dict.fromkeys(one.metric for one in found):
        there = [values.get((metric, model)) for model in models]
        cells = ["" if one is None else f"{one.value:.4g}" for one in there]
        n = next(one.n for one in there if one is not None)
        lines.append(f"| {metric} | {' | '.join(cells)} | {n} | {MEANT.get(metric, '')} |")
    return lines


def _cell(text: str) -> str:
    """A text of the data as it can stand in Markdown."""
    shown = "".join(char if char.isprintable() else " " for char in text)[:80]
    return "".join(f"\\{char}" if char in "|<>[]`*_#\\" else char for char in shown)
