"""Runs that the tests of the page share."""

from pathlib import Path

import pytest

from tests.report.runs import hostile_run


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 150 hostile rows that a real rule splits; not to be changed."""
    return hostile_run(tmp_path_factory.mktemp("hostile"))
