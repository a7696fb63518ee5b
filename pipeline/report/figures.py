"""The charts of a report, as Plotly figures; the page gives them its colours, light or dark.

Text that comes from data is escaped: Plotly reads some tags and links in labels.
"""

from __future__ import annotations

import html
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline.extras import pip_line
from pipeline.report.bins import Bins, bins
from pipeline.report.facts import MEASURES, PARTS, Facts

if TYPE_CHECKING:
    import plotly.graph_objects as go

PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#44aa99"),
    *("#5b4a9b", "#7fb069", "#a44a3f", "#3d5a80"),
)
"""Told apart by people who see colours otherwise, too (after Okabe and Ito 2008)."""
KEPT, GREY = PALETTE[0], "#9aa0a6"
MISSING = f"charts are drawn with plotly, which is not installed: {pip_line('report')}."
MOST_REASONS = 10
MOST_VALUES = 12
LONGEST_LABEL = 60

Bars = tuple[str, Sequence[float], str]
"""Bars of one kind: their name, a value a line, and their colour."""
Draw = Callable[[], "go.Figure | None"]
"""Draws a figure; null where there is nothing to draw."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: the part of the page that it stands in, what it shows, and the figure."""

    section: str
    title: str
    said: str
    figure: go.Figure

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.figure.layout.height)

    def as_json(self) -> dict[str, Any]:
        """The figure as plain data."""
        found: dict[str, Any] = json.loads(self.figure.to_json())
        return found


def shortened(text: object) -> str:
    """A text of the data on one short line."""
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST_LABEL else line[: LONGEST_LABEL - 1] + "…"


def label(text: object) -> str:
    """A text of the data as a label: short, on one line, without tags."""
    return html.escape(shortened(text), quote=False)


def told_apart(texts: Sequence[str]) -> list[str]:
    """Their labels, each with its number where texts that differ would look the same.

    >>> told_apart(["yes", "no", "yes "])
    ['yes', 'no', 'yes (2)']
    """
    found: list[str] = []
    for text in texts:
        same = short = label(text)
        number = 1
        while same in found:
            number += 1
            same = f"{short} ({number})"
        found.append(same)
    return found


def charts(runs: Sequence[Facts]) -> list[Chart]:
    """All charts of one run, or of two beside each other."""
    return [
        *_of_each(runs, "funnel", "Rows by stage", funnel,
                  "what each stage kept, and what it dropped by which rule"),
        *_of_each(runs, "cost", "Tokens by stage", tokens, "as the replies state"),
        *_of_each(runs, "cost", "Time by stage", seconds),
        *(
            Chart("rows", meaning[0].upper() + meaning[1:], _said_of(runs, name), figure)
            for name, meaning in MEASURES.items()
            if (figure := distribution(runs, name)) is not None
        ),
        *_of_each(runs, "instructions", "Root verbs and their objects", roots, _said_of_roots),
        *(
            Chart("parts", f"Rows by {meaning}", "", figure)
            for name, meaning in PARTS.items()
            if (figure := part(runs, name)) is not None
        ),
        *_of_each(runs, "parts", "Most frequent labels", labels, _said_of_labels),
        *_of_each(runs, "training", "Loss by step", curve, "of what was trained on, and held out"),
    ]  # fmt: skip


def _of_each(
    runs: Sequence[Facts],
    section: str,
    title: str,
    draw: Callable[[Facts], go.Figure | None],
    said: str | Callable[[Facts], str] = "",
) -> Iterator[Chart]:
    """A chart of each run that has something to show."""
    for facts in runs:
        figure = draw(facts)
        if figure is not None:
            told = said if isinstance(said, str) else said(facts)
            yield Chart(section, f"{title}{_of(facts, runs)}", told, figure)


def _of(facts: Facts, runs: Sequence[Facts]) -> str:
    """Which run a chart is of, where there are two."""
    return f" of {facts.name}" if len(runs) > 1 else ""


def funnel(facts: Facts) -> go.Figure | None:
    """What each stage kept, and what it dropped by which rule."""
    begun = [stage for stage in facts.stages if stage.candidates]
    if not begun:
        return None
    totals: Counter[str] = Counter()
    for stage in begun:
        totals.update(stage.dropped_by_reason)
    most = [reason for reason, _ in totals.most_common(MOST_REASONS)]
    bars: list[Bars] = [("kept", [stage.kept for stage in begun], KEPT)]
    for at, reason in enumerate(most):
        dropped = [stage.dropped_by_reason.get(reason, 0) for stage in begun]
        bars.append((f"dropped: {reason}", dropped, PALETTE[1 + at % (len(PALETTE) - 1)]))
    if len(totals) > len(most):
        rest = [
            sum(n for reason, n in stage.dropped_by_reason.items() if reason not in most)
            for stage in begun
        ]
        bars.append(("dropped: other rules", rest, GREY))
    names = [
        stage.name if stage.state == "complete" else f"{stage.name} ({stage.state})"
        for stage in begun
    ]
    return _bars(names, bars, "rows", barmode="stack")


def tokens(facts: Facts) -> go.Figure | None:
    """Tokens of the requests of each stage that asks, input and output."""
    asking = [stage for stage in facts.stages if stage.requests]
    bars: list[Bars] = [
        ("input", [stage.input_tokens for stage in asking], PALETTE[0]),
        ("output", [stage.output_tokens for stage in asking], PALETTE[1]),
    ]
    names = [stage.name for stage in asking]
    return _bars(names, bars, "tokens", barmode="stack") if asking else None


def seconds(facts: Facts) -> go.Figure | None:
    """How long each stage was at work."""
    timed = [stage for stage in facts.stages if stage.seconds]
    bars: list[Bars] = [("seconds", [stage.seconds for stage in timed], PALETTE[2])]
    return _bars([stage.name for stage in timed], bars, "seconds at work") if timed else None


def distribution(runs: Sequence[Facts], name: str) -> go.Figure | None:
    """How a measure is distributed: of one run all rows and those kept, of more what each kept."""
    import plotly.graph_objects as go

    shared = _bins(runs, name)
    if shared is None:
        return None
    figure = go.Figure()
    for at, facts in enumerate(runs):
        one = facts.measured.get(name)
        if one is None:
            continue
        if len(runs) == 1:
            _add(figure, shared, one.all, "all that have one", GREY)
        _add(figure, shared, one.kept, f"kept{_of(facts, runs)}", _colour(at))
    figure.update_layout(barmode="overlay", height=280)
    return _plain(figure, x=MEASURES[name], y="rows")


def _bins(runs: Sequence[Facts], name: str) -> Bins | None:
    """The bins of a measure, the same of all runs; null where it tells no rows apart."""
    values = [facts.measured[name].all for facts in runs if name in facts.measured]
    there = pl.concat(values) if values else pl.Series([], dtype=pl.Float64)
    return bins(there) if there.n_unique() > 1 else None


def _said_of(runs: Sequence[Facts], name: str) -> str:
    """What a distribution's chart says in words."""
    said = []
    for facts in runs:
        one = facts.measured.get(name)
        if one is None:
            continue
        said.append(f"mean {_mean(one.all)} before, {_mean(one.kept)} after{_of(facts, runs)}")
        if one.not_finite:
            said.append(f"rows{_of(facts, runs)} without a finite value: {one.not_finite:,}")
    shared = _bins(runs, name)
    if shared is not None and shared.is_cut:
        said.append(f"all above {shared.edges[-1]:.4g} stand in the last bin")
    return "; ".join(said)


def _mean(values: pl.Series) -> str:
    return "none" if values.is_empty() else f"{float(values.mean()):.4g}"  # type: ignore[arg-type]


def _add(figure: go.Figure, of: Bins, values: pl.Series, name: str, colour: str) -> None:
    pairs = list(itertools.pairwise(of.edges))
    figure.add_bar(
        x=[(low + high) / 2 for low, high in pairs],
        y=of.counts(values),
        width=[(high - low) * 0.96 for low, high in pairs],
        name=label(name),
        marker_color=colour,
        opacity=0.75,
        customdata=[f"{low:.4g} to {high:.4g}" for low, high in pairs],
        hovertemplate="%{customdata}: %{y} rows",
    )


def _colour(at: int) -> str:
    """The colour of a run."""
    return PALETTE[at % len(PALETTE)]


def roots(facts: Facts) -> go.Figure | None:
    """The most frequent root verbs and the objects of each, in two rings."""
    import plotly.graph_objects as go

    if not facts.roots:
        return None
    verbs = _verbs(facts)
    pairs = [(verb, what, n) for verb, what, n in facts.roots if what is not None]
    figure = go.Figure(
        go.Sunburst(
            ids=[*verbs, *(f"{verb} {what}" for verb, what, _ in pairs)],
            labels=[label(one) for one in (*verbs, *(what for _, what, _ in pairs))],
            parents=[*("" for _ in verbs), *(verb for verb, *_ in pairs)],
            values=[*verbs.values(), *(n for *_, n in pairs)],
            branchvalues="total",
            insidetextorientation="radial",
            hovertemplate="%{label}: %{value} rows<extra></extra>",
        )
    )
    figure.update_layout(height=560, sunburstcolorway=list(PALETTE))
    return _plain(figure)


def _verbs(facts: Facts) -> Counter[str]:
    verbs: Counter[str] = Counter()
    for verb, _, n in facts.roots:
        verbs[verb] += n
    return verbs


def _said_of_roots(facts: Facts) -> str:
    verbs = _verbs(facts)
    return (
        f"the {len(verbs)} most frequent verbs, {verbs.total()} of {facts.kept} kept rows; "
        f"{facts.without_root} have none that is known"
    )


def part(runs: Sequence[Facts], name: str) -> go.Figure | None:
    """How many rows have each value of a column: of one run before and after, of more after."""
    totals: Counter[str] = Counter()
    for facts in runs:
        totals.update({value: before for value, before, _ in facts.parts.get(name, ())})
    if len(totals) < 2:
        return None
    most = [value for value, _ in totals.most_common(MOST_VALUES)]
    n_others = len(totals) - len(most)
    bars: list[Bars] = []
    for at, facts in enumerate(runs):
        if name not in facts.parts:
            continue
        before, after = (
            {value: counts[half] for value, *counts in facts.parts[name]} for half in (0, 1)
        )
        if len(runs) == 1:
            bars.append(("all that have one", _with_rest(before, most, n_others), GREY))
        bars.append((f"kept{_of(facts, runs)}", _with_rest(after, most, n_others), _colour(at)))
    names = [*most, *([f"{n_others} others"] if n_others else [])]
    return _bars(names, bars, "rows", barmode="group", each=40)


def _with_rest(counts: dict[str, int], most: Sequence[str], n_others: int) -> list[int]:
    """How many rows have each of the most frequent values, and, where there are, any other."""
    chosen = [counts.get(value, 0) for value in most]
    return [*chosen, sum(counts.values()) - sum(chosen)] if n_others else chosen


def labels(facts: Facts) -> go.Figure | None:
    """The most frequent outputs of kept classification rows."""
    bars: list[Bars] = [("rows", [n for _, n in facts.labels], PALETTE[3])]
    names = [one for one, _ in facts.labels]
    return _bars(names, bars, "rows", each=30) if names else None


def _said_of_labels(facts: Facts) -> str:
    balance = facts.label_balance
    more = "" if balance is None else f"; balance of a task's labels {balance:.2f} of 1"
    return f"outputs of kept classification rows{more}"


def curve(facts: Facts) -> go.Figure | None:
    """The loss of a fine-tuning by step, and that of the rows held out."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for at, (key, name) in enumerate({"loss": "trained on", "eval_loss": "held out"}.items()):
        logged = [(one["step"], one[key]) for one in facts.curve if key in one]
        if logged:
            figure.add_scatter(
                x=[step for step, _ in logged],
                y=[loss for _, loss in logged],
                name=name,
                mode="lines+markers",
                line_color=PALETTE[at],
            )
    if not figure.data:
        return None
    figure.update_layout(height=320)
    return _plain(figure, x="step", y="loss")


def _bars(
    names: Sequence[str],
    bars: Sequence[Bars],
    unit: str,
    *,
    barmode: str = "group",
    each: int = 34,
) -> go.Figure:
    """Horizontal bars, a line a name from above."""
    import plotly.graph_objects as go

    figure = go.Figure()
    lines = told_apart(names)
    for name, values, colour in bars:
        figure.add_bar(
            y=lines,
            x=list(values),
            name=label(name),
            orientation="h",
            marker_color=colour,
        )
    figure.update_layout(barmode=barmode, height=120 + each * len(names))
    figure.update_layout(showlegend=len(bars) > 1)
    figure.update_yaxes(autorange="reversed", type="category")
    return _plain(figure, x=unit)


def _plain(figure: go.Figure, x: str | None = None, y: str | None = None) -> go.Figure:
    """A figure without a theme of its own."""
    figure.update_layout(
        template="none",
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(automargin=True, title=x)
    figure.update_yaxes(automargin=True, title=y)
    return figure
