"""A computation in a thread of its own gives what it gives, or says what it ended with."""

import signal
import threading

import pytest

from pipeline.errors import InterruptedRunError, StorageError
from pipeline.run.aside import aside
from pipeline.signals import Ending


def test_what_is_computed_is_given() -> None:
    assert aside(lambda: None, Ending()) is None
    assert aside(lambda: threading.current_thread().name, Ending()) == "compute"


def test_what_is_raised_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise SystemExit("a library ends the process")

    with pytest.raises(SystemExit, match="a library"):
        aside(fail, Ending())


def test_a_signal_ends_the_wait_for_a_computation_that_never_ends() -> None:
    ending, never = Ending(), threading.Event()
    ending._seen.append(signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match="SIGTERM came"):
        aside(never.wait, ending)
    never.set()


def test_a_thread_that_ends_without_a_word_is_want_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading.Thread, "run", lambda self: None)
    with pytest.raises(StorageError, match=r"ended without a word.* start the same command again"):
        aside(lambda: 1, Ending())
