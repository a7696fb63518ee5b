from collections.abc import Iterator

import pytest

from tests.teacher_server.process import Server, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("teacher") / "history.jsonl"
    with running_server(path, max_seconds=120) as running:
        yield running
