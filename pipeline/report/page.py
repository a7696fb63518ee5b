"""One self-contained HTML file: text escaped, scripts named by their hash, no request to anything.

The rows stand in it as JSON, compressed and in base64, and are unpacked in the browser; nothing of
them is ever read as HTML.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from pipeline.errors import RecipeError
from pipeline.inspect import Run
from pipeline.report import facts, figures, roots, sample
from pipeline.report.facts import Facts
from pipeline.version import VERSION

HERE = Path(__file__).parent
MOST_ROWS = 20_000
"""How many rows a page holds at most, of all its runs."""
SECTIONS = {
    "funnel": "What was dropped, and why",
    "cost": "Tokens and time",
    "rows": "Before and after",
    "instructions": "What is asked for",
    "parts": "What there is of what",
    "training": "Fine-tuning",
}


def render(runs: Sequence[Run], *, most_rows: int = MOST_ROWS) -> str:
    """The page of one run, or of two side by side; `most_rows` are shown of each at most.

    Raises `RecipeError` where the package that draws is not installed.
    """
    plotly = _plotly()
    found = _told_apart([facts.of_run(run) for run in runs])
    rows = [sample.of_run(run, most_rows // len(runs)) for run in runs]
    drawn = figures.charts(found)
    data = {
        "runs": [
            {"name": one.name, "rows": its.rows, "total": its.total, "others": its.others}
            for one, its in zip(found, rows, strict=True)
        ],
        "figures": [chart.as_json() for chart in drawn],
        "scores": list(sample.SCORES),
    }
    script = (HERE / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["grouped"] = lambda number: f"{number:,}"
    return environment.get_template("page.html.jinja").render(
        title=" and ".join(one.name for one in found),
        runs=[_head(one) for one in found],
        sections=[
            (
                name,
                title,
                [(at, chart) for at, chart in enumerate(drawn) if chart.section == name],
            )
            for name, title in SECTIONS.items()
        ],
        metrics=_metrics,
        roots_said=roots.method(),
        samples=[
            (one.name, len(its.rows), its.total) for one, its in zip(found, rows, strict=True)
        ],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=VERSION,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        plotly=plotly,
        script=script,
        policy=_policy(plotly, script),
        data=_packed(data),
    )


def _told_apart(found: list[Facts]) -> list[Facts]:
    """The same, where runs have one name each with its number."""
    names = [one.name for one in found]
    if len(set(names)) == len(names):
        return found
    return [replace(one, name=f"{one.name} ({at})") for at, one in enumerate(found, start=1)]


def _head(one: Facts) -> dict[str, Any]:
    """What the head of the page says of a run."""
    costs = [float(stage.cost_usd) for stage in one.stages if stage.cost_usd is not None]
    return asdict(one) | {
        "tokens": sum(stage.input_tokens + stage.output_tokens for stage in one.stages),
        "requests": sum(stage.requests for stage in one.stages),
        "cost": f"${sum(costs):,.2f}" if costs else None,
    }


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
