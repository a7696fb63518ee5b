"""One self-contained HTML file: text escaped, scripts named by their hash, no request to anything.

The rows stand in it as JSON, compressed and in base64, and are unpacked in the browser; nothing of
them is ever read as HTML.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from pipeline.errors import RecipeError
from pipeline.inspect import Run
from pipeline.report import facts, figures, roots, sample
from pipeline.report.facts import Facts
from pipeline.report.figures import Chart
from pipeline.report.limits import MOST_BYTES, MOST_ROWS
from pipeline.report.sample import Sample
from pipeline.version import VERSION

HERE = Path(__file__).parent
MOST_TEXT = 64_000_000
"""Characters of all rows at most: a browser holds them, and looks through them at each key."""
LENGTHS = (sample.LONGEST, 2000, 1000, 500, 250)
"""How long a text is shown at most, from the first length that leaves the page small enough."""
EVERY, MARGIN = 20, 1.2
"""Of every so many rows one is packed to see what all take, give or take so much."""
SECTIONS = {
    "funnel": "What was dropped, and why",
    "cost": "Tokens and time",
    "rows": "Before and after",
    "instructions": "What is asked for",
    "parts": "What there is of what",
    "training": "Fine-tuning",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """The rows of a page, run by run, and how long their texts are at most."""

    samples: list[Sample]
    longest: int
    has_all: bool
    """Whether these are as many rows as were asked for."""

    @property
    def size(self) -> int:
        """How much text they have, in characters."""
        return sum(one.size for one in self.samples)


def render(runs: Sequence[Run], *, most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> str:
    """The page of one run, or of several side by side, with at most `most_rows` rows of all.

    Where it were larger than `most_bytes`, texts are shown shorter, then fewer rows. Raises
    `RecipeError` where the package that draws is not installed, `InputError` where `most_rows` is
    not even a row of each run, `DamagedError` for a shard.
    """
    plotly = _plotly()
    found = _told_apart([facts.of_run(run) for run in runs])
    drawn = figures.charts(found)
    figures_json = [chart.as_json() for chart in drawn]
    for shown in _smaller_and_smaller(runs, most_rows):
        if _estimated(shown) > most_bytes * MARGIN:
            continue
        data = {
            "runs": [
                {"name": one.name, "rows": its.rows, "others": its.others}
                for one, its in zip(found, shown.samples, strict=True)
            ],
            "figures": figures_json,
            "columns": sample.shown_columns(runs),
        }
        packed = _packed(data)
        page = _page(found, drawn, shown, f"{most_bytes / 1e6:.0f} MB", plotly, packed)
        if len(page.encode(errors="replace")) <= most_bytes:
            break
    return page


def _smaller_and_smaller(runs: Sequence[Run], most_rows: int) -> Iterator[Shown]:
    """What a page may show: all that was asked for, then shorter texts, then fewer rows."""
    most = most_rows
    while True:
        samples = sample.of_runs(runs, most)
        for longest in LENGTHS:
            shown = Shown([one.shortened(longest) for one in samples], longest, most == most_rows)
            if shown.size <= MOST_TEXT:
                yield shown
        most = sum(len(one.rows) for one in samples) // 2
        if most < len(runs):
            return


def _estimated(shown: Shown) -> float:
    """How many bytes of the page the rows will take, about."""
    rows = [row for one in shown.samples for row in one.rows]
    some = rows[::EVERY]
    return len(_packed(some)) * len(rows) / max(len(some), 1)


def _page(
    found: Sequence[Facts],
    drawn: Sequence[Chart],
    shown: Shown,
    most: str,
    plotly: str,
    packed: str,
) -> str:
    """The page as HTML; `most` is its size at most, and `packed` are its rows and figures."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["grouped"] = lambda number: f"{number:,}"
    script = (HERE / "page.js").read_text(encoding="utf-8")
    sections = [
        (name, title, [(at, chart) for at, chart in enumerate(drawn) if chart.section == name])
        for name, title in SECTIONS.items()
    ]
    return environment.get_template("page.html.jinja").render(
        title=" and ".join(one.name for one in found),
        runs=found,
        sections=sections,
        metrics=_metrics,
        roots_said=roots.method(),
        samples=list(zip(found, shown.samples, strict=True)),
        shown=shown,
        is_cut=any(one.is_cut for one in shown.samples),
        is_shorter=shown.longest < sample.LONGEST,
        listed=sample.LISTED,
        most_bytes=most,
        label=figures.shortened,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=VERSION,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        plotly=plotly,
        script=script,
        policy=_policy(plotly, script),
        data=packed,
    )


def _told_apart(found: list[Facts]) -> list[Facts]:
    """The same, where runs have one name each with its number."""
    names = [one.name for one in found]
    if len(set(names)) == len(names):
        return found
    return [replace(one, name=f"{one.name} ({at})") for at, one in enumerate(found, start=1)]


def _metrics(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The metrics that any model of an evaluation has, each once."""
    return list(dict.fromkeys(metric for by in found.values() for metric in by))


def _plotly() -> str:
    """Plotly's script. Raises `RecipeError` where the package is not there."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise RecipeError(figures.MISSING) from error
    return str(get_plotlyjs())


def _packed(data: Any) -> str:  # noqa: ANN401 - any JSON
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str)
    return base64.b64encode(gzip.compress(text.encode(errors="replace"), 6, mtime=0)).decode()


def _policy(*scripts: str) -> str:
    """What the page may do: run these scripts, and load nothing."""
    hashes = (
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    )
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
