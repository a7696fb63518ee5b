"""The charts of a report, as Plotly figures; the page gives them its colours, light or dark.

Text that comes from data is escaped: Plotly reads some tags and links in labels.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.report.facts import MEASURES, PARTS, Distribution, Facts

if TYPE_CHECKING:
    import plotly.graph_objects as go

PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"),
    *("#5b4a9b", "#7fb069", "#a44a3f", "#3d5a80"),
)
"""Told apart by people who see colours otherwise, too (after Okabe and Ito 2008)."""
KEPT, BEFORE = PALETTE[0], "#9aa0a6"
MOST_REASONS = 10
LONGEST_LABEL = 60


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: the part of the page that it stands in, what it shows, and the figure as JSON."""

    section: str
    title: str
    said: str
    figure: dict[str, Any]


def label(text: object) -> str:
    """A text of the data as a label: short, on one line, without tags."""
    line = " ".join(str(text).split())
    short = line if len(line) <= LONGEST_LABEL else line[: LONGEST_LABEL - 1] + "…"
    return html.escape(short, quote=False)


def charts(runs: Sequence[Facts]) -> list[Chart]:
    """All charts of one run, or of two beside each other."""
    found = list(_funnels(runs))
    found += _costs(runs)
    found += _distributions(runs)
    found += _sunbursts(runs)
    found += _parts(runs)
    return found


def _of(facts: Facts, runs: Sequence[Facts]) -> str:
    """Which run a chart is of, where there are two."""
    return f" of {facts.name}" if len(runs) > 1 else ""


def _funnels(runs: Sequence[Facts]) -> Iterator[Chart]:
    import plotly.graph_objects as go

    for facts in runs:
        begun = [stage for stage in facts.stages if stage.candidates]
        if not begun:
            continue
        names = [label(stage.name) for stage in begun]
        figure = go.Figure()
        figure.add_bar(
            y=names, x=[stage.kept for stage in begun], name="kept", orientation="h",
            marker_color=KEPT,
        )  # fmt: skip
        totals: dict[str, int] = {}
        for stage in begun:
            for reason, n in stage.dropped_by_reason.items():
                totals[reason] = totals.get(reason, 0) + n
        most = sorted(totals, key=lambda reason: -totals[reason])[:MOST_REASONS]
        for at, reason in enumerate(most):
            figure.add_bar(
                y=names,
                x=[stage.dropped_by_reason.get(reason, 0) for stage in begun],
                name=label(reason),
                orientation="h",
                marker_color=PALETTE[1 + at % (len(PALETTE) - 1)],
            )
        if len(totals) > len(most):
            rest = [
                sum(n for reason, n in stage.dropped_by_reason.items() if reason not in most)
                for stage in begun
            ]
            figure.add_bar(
                y=names, x=rest, name="other rules", orientation="h", marker_color=BEFORE
            )
        figure.update_layout(barmode="stack", height=120 + 34 * len(begun))
        figure.update_yaxes(autorange="reversed")
        figure.update_xaxes(title="rows")
        yield Chart(
            "funnel",
            f"Rows by stage{_of(facts, runs)}",
            "what each stage kept, and what it dropped by which rule",
            _json(figure),
        )


def _costs(runs: Sequence[Facts]) -> Iterator[Chart]:
    import plotly.graph_objects as go

    for facts in runs:
        asking = [stage for stage in facts.stages if stage.requests]
        if asking:
            names = [label(stage.name) for stage in asking]
            figure = go.Figure()
            for at, (name, values) in enumerate(
                {
                    "input": [stage.input_tokens for stage in asking],
                    "output": [stage.output_tokens for stage in asking],
                }.items()
            ):
                figure.add_bar(
                    y=names, x=values, name=name, orientation="h", marker_color=PALETTE[at]
                )
            figure.update_layout(barmode="stack", height=120 + 34 * len(asking))
            figure.update_yaxes(autorange="reversed")
            figure.update_xaxes(title="tokens")
            yield Chart(
                "cost", f"Tokens by stage{_of(facts, runs)}", "as the replies state", _json(figure)
            )
        timed = [stage for stage in facts.stages if stage.seconds]
        if timed:
            figure = go.Figure(
                go.Bar(
                    y=[label(stage.name) for stage in timed],
                    x=[stage.seconds for stage in timed],
                    orientation="h",
                    marker_color=PALETTE[2],
                )
            )
            figure.update_layout(height=120 + 34 * len(timed))
            figure.update_yaxes(autorange="reversed")
            figure.update_xaxes(title="seconds at work")
            yield Chart("cost", f"Time by stage{_of(facts, runs)}", "", _json(figure))


def _distributions(runs: Sequence[Facts]) -> Iterator[Chart]:
    import plotly.graph_objects as go

    for name, meaning in MEASURES.items():
        figure, said = go.Figure(), []
        for at, facts in enumerate(runs):
            one = facts.distributions.get(name)
            if one is None:
                continue
            of = _of(facts, runs)
            if len(runs) == 1:
                _add(figure, one, one.before, "all rows", BEFORE)
            _add(figure, one, one.after, f"kept{label(of)}", PALETTE[at])
            mean = "none" if one.mean_after is None else f"{one.mean_after:.4g}"
            said.append(f"mean {one.mean_before:.4g} before, {mean} after{of}")
            if one.is_cut:
                said.append(f"all above {one.edges[-1]:.4g} stand in the last bin")
        if said:
            figure.update_layout(barmode="overlay", height=280)
            figure.update_xaxes(title=meaning)
            figure.update_yaxes(title="rows")
            yield Chart("rows", meaning[0].upper() + meaning[1:], "; ".join(said), _json(figure))


def _add(figure: go.Figure, of: Distribution, counts: list[int], name: str, colour: str) -> None:
    middles = [(low + high) / 2 for low, high in zip(of.edges, of.edges[1:], strict=False)]
    ranges = [f"{low:.4g} to {high:.4g}" for low, high in zip(of.edges, of.edges[1:], strict=False)]
    figure.add_bar(
        x=middles,
        y=counts,
        width=[(of.edges[1] - of.edges[0]) * 0.96] * len(counts),
        name=name,
        marker_color=colour,
        opacity=0.75,
        customdata=ranges,
        hovertemplate="%{customdata}: %{y} rows",
    )


def _sunbursts(runs: Sequence[Facts]) -> Iterator[Chart]:
    import plotly.graph_objects as go

    for facts in runs:
        if not facts.roots:
            continue
        ids, names, parents, values = [], [], [], []
        verbs: dict[str, int] = {}
        for verb, _, n in facts.roots:
            verbs[verb] = verbs.get(verb, 0) + n
        for verb, n in verbs.items():
            ids.append(verb)
            names.append(label(verb))
            parents.append("")
            values.append(n)
        for verb, what, n in facts.roots:
            if what is not None:
                ids.append(f"{verb} {what}")
                names.append(label(what))
                parents.append(verb)
                values.append(n)
        figure = go.Figure(
            go.Sunburst(
                ids=ids,
                labels=names,
                parents=parents,
                values=values,
                branchvalues="total",
                insidetextorientation="radial",
                hovertemplate="%{label}: %{value} rows<extra></extra>",
            )
        )
        figure.update_layout(height=560, sunburstcolorway=list(PALETTE))
        shown = sum(verbs.values())
        yield Chart(
            "instructions",
            f"Root verbs and their objects{_of(facts, runs)}",
            f"the {len(verbs)} most frequent verbs, {shown} of {facts.kept} kept rows; "
            f"{facts.without_root} have none that is known",
            _json(figure),
        )


def _parts(runs: Sequence[Facts]) -> Iterator[Chart]:
    import plotly.graph_objects as go

    for name, meaning in PARTS.items():
        figure = go.Figure()
        n_values = 0
        for at, facts in enumerate(runs):
            found = facts.parts.get(name)
            if found is None:
                continue
            n_values = max(n_values, len(found))
            of = label(_of(facts, runs))
            values = [label(value) for value, *_ in found]
            before, after = ([one[which] for one in found] for which in (1, 2))
            if len(runs) == 1:
                figure.add_bar(
                    y=values, x=before, name="all rows", orientation="h", marker_color=BEFORE
                )
            figure.add_bar(
                y=values, x=after, name=f"kept{of}", orientation="h", marker_color=PALETTE[at]
            )
        if n_values:
            figure.update_layout(barmode="group", height=130 + 40 * n_values)
            figure.update_yaxes(autorange="reversed", type="category")
            figure.update_xaxes(title="rows")
            yield Chart("parts", f"Rows by {meaning}", "", _json(figure))
    for facts in runs:
        if facts.labels:
            figure = go.Figure(
                go.Bar(
                    y=[label(one) for one, _ in facts.labels],
                    x=[n for _, n in facts.labels],
                    orientation="h",
                    marker_color=PALETTE[3],
                )
            )
            figure.update_layout(height=130 + 30 * len(facts.labels))
            figure.update_yaxes(autorange="reversed", type="category")
            figure.update_xaxes(title="rows")
            balance = facts.label_balance
            yield Chart(
                "parts",
                f"Most frequent labels{_of(facts, runs)}",
                "outputs of kept classification rows"
                + ("" if balance is None else f"; balance of a task's labels {balance:.2f} of 1"),
                _json(figure),
            )


def _json(figure: go.Figure) -> dict[str, Any]:
    """A figure as plain data, without a theme of its own."""
    figure.update_layout(
        template="none",
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    found: dict[str, Any] = json.loads(figure.to_json())
    return found
