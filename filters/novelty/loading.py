"""The compiled engine, made ready in a thread: a loop that waits for answers goes on meanwhile."""

from __future__ import annotations

import pickle
import threading
from functools import cache


class Loading(threading.Thread):
    """Compiles the engine, the first time on a machine for ten seconds, or reads what was compiled.

    No daemon: LLVM cannot be cut off in the middle. A process that ends meanwhile waits for the
    part that is being compiled, and leaves the rest. `failure` is what went wrong, if anything.
    """

    def __init__(self) -> None:
        """Begin with `start`."""
        super().__init__(name="novelty-loading")
        self.failure: Exception | None = None

    def run(self) -> None:
        """Load part by part."""
        try:
            from filters.novelty import scan  # numba: half a second to import

            for _ in scan.load():
                if not threading.main_thread().is_alive():
                    return
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            # numba stops at a full disk or a damaged file in its cache
            self.failure = error


@cache
def loading() -> Loading:
    """The one loading of this process, begun by the first who asks."""
    one = Loading()
    one.start()
    return one
