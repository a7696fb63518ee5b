import pytest

from tests.faults import matrix
from tests.faults.matrix import Ran
from tests.teacher_server.process import running_server


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run that nothing disturbs, up to `classify`; not to be changed."""
    folder = tmp_path_factory.mktemp("clean")
    with running_server(folder / "history.jsonl", {"content": matrix.THREE_ITEMS}) as server:
        ran = matrix.run(server, folder / "run")
    assert ran.code == 0
    return ran
