"""The charts of a run in a notebook: `open_run("runs/x").plot.funnel()`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.errors import InputError, RecipeError
from pipeline.report import facts, figures
from pipeline.report.facts import MEASURES, PARTS, Facts

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from pipeline.inspect import Run


class Plots:
    """Each method gives a Plotly figure, to be shown, changed or saved.

    All raise `InputError` where the run has nothing of the kind, and `RecipeError` where plotly
    (the extra `report`) is not installed.
    """

    def __init__(self, run: Run) -> None:
        """Read nothing yet; the run's numbers are read once, at the first figure."""
        self._run = run

    @cached_property
    def facts(self) -> Facts:
        """The numbers that are drawn."""
        return facts.of_run(self._run)

    def funnel(self) -> go.Figure:
        """What each stage kept, and what it dropped by which rule."""
        return self._shown(lambda: figures.funnel(self.facts), "rows")

    def tokens(self) -> go.Figure:
        """Tokens by stage, input and output."""
        return self._shown(lambda: figures.tokens(self.facts), "requests")

    def seconds(self) -> go.Figure:
        """How long each stage was at work."""
        return self._shown(lambda: figures.seconds(self.facts), "stages that took time")

    def distribution(self, measure: str = "output words") -> go.Figure:
        """A measure of all rows and of those kept; its name is a key of `facts.MEASURES`."""
        if measure not in MEASURES:
            raise InputError(f"there is no measure {measure!r}; there are {', '.join(MEASURES)}.")
        return self._shown(lambda: figures.distribution([self.facts], measure), measure)

    def roots(self) -> go.Figure:
        """Root verbs of kept instructions and their objects (Wang et al. 2023, figure 2)."""
        return self._shown(lambda: figures.roots(self.facts), "instructions with a known verb")

    def part(self, column: str = "is_classification") -> go.Figure:
        """How many rows have each value of a column, one of `facts.PARTS`."""
        if column not in PARTS:
            raise InputError(f"there is no part {column!r}; there are {', '.join(PARTS)}.")
        return self._shown(lambda: figures.part([self.facts], column), column)

    def labels(self) -> go.Figure:
        """The most frequent outputs of kept classification rows."""
        return self._shown(lambda: figures.labels(self.facts), "classification rows")

    def curve(self) -> go.Figure:
        """The loss of a fine-tuning by step."""
        return self._shown(lambda: figures.curve(self.facts), "fine-tuned model")

    def _shown(self, draw: figures.Draw, what: str) -> go.Figure:
        try:
            figure = draw()
        except ImportError as error:
            raise RecipeError(figures.MISSING) from error
        if figure is None:
            raise InputError(f"{self._run.path} has no {what} to draw.")
        return figure.update_layout(template="plotly_white", margin_t=40)
