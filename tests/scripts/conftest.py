from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.stand_ins import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    for job in site.started:
        job.clear_away()
