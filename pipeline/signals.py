"""The one owner of signals: SIGTERM, SIGINT, SIGUSR1 and SIGHUP end a command in good order.

Python calls a handler only between two steps of its main thread, and that may be at an import, at a
long computation or at a disk that does not answer. So a thread of its own waits for signals. Before
a run works, a signal ends the process right there: nothing is begun. While one works, the thread
notes it, for the loops that `check`, and tells whoever waits (`on_signal`); what is then not over
in time is broken off, which a run bears at any instant.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import InterruptedRunError

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
SEAL_S = 5.0
"""How long after its grace a run may take to write its books, before it is broken off."""
AT_ONCE_S = 2.0
"""The same after a second SIGINT."""

Told = Callable[[bool], None]
"""Called by another thread when a signal came; true where it shall be at once."""


class Ending:
    """Whether the run that works was told to end."""

    def __init__(self, grace_s: float = 0.0) -> None:
        """`grace_s` is how long what is in flight may still come back."""
        self.grace_s = grace_s
        self._seen: list[signal.Signals] = []
        self._told: list[Told] = []
        self._lock = threading.Lock()

    @property
    def has_come(self) -> bool:
        """Whether a signal came."""
        return bool(self._seen)

    def reason(self) -> InterruptedRunError:
        """What ends the run once a signal came."""
        return InterruptedRunError(
            f"{self._seen[0].name} came: start the same command again to go on."
        )

    def check(self) -> None:
        """Raise `InterruptedRunError` where a signal came; every loop of a run asks."""
        if self._seen:
            raise self.reason()

    def on_signal(self, told: Told) -> None:
        """Call `told` when a signal comes, or now, where one has come."""
        with self._lock:
            self._told.append(told)
            has_come = self.has_come
        if has_come:
            told(self._is_at_once())

    def come(self, number: signal.Signals) -> None:
        """Note a signal and tell all who wait for one."""
        with self._lock:
            self._seen.append(number)
            listeners = list(self._told)
        for told in listeners:
            told(self._is_at_once())
        if len(self._seen) == 1:
            self._break_off_after(self.grace_s + SEAL_S)
        elif self._is_at_once():
            self._break_off_after(AT_ONCE_S)

    def _is_at_once(self) -> bool:
        return self._seen.count(signal.SIGINT) > 1

    def _break_off_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, _quit, (str(self.reason()),))
        timer.daemon = True
        timer.start()


class _Owner:
    """The thread that waits for signals, and the run that works, if one does."""

    def __init__(self) -> None:
        self.working: Ending | None = None
        self.looks_on = False
        self._pipe, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def _wait(self) -> None:
        while True:
            for number in os.read(self._pipe, 64):
                if number not in ENDING:
                    continue
                if self.looks_on and number == signal.SIGINT:
                    os._exit(0)
                if self.working is None:
                    _quit(f"{signal.Signals(number).name} came: start the same command again.")
                else:
                    self.working.come(signal.Signals(number))


_owner: _Owner | None = None


def install() -> None:
    """Take the signals over, from the main thread, before anything that takes time.

    One that the process was started to ignore (`nohup`, a shell's background) stays ignored.
    """
    global _owner
    if _owner is not None:
        return
    try:
        _owner = _Owner()
    except RuntimeError:  # no more threads: signals stay as they are, and the next thread says so
        return
    for number in ENDING:
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        if not (is_ignored and number in (signal.SIGINT, signal.SIGHUP)):
            signal.signal(number, _wake)


def look_on() -> None:
    """This command only shows what others do: with SIGINT a person leaves it, and all is well."""
    if _owner is not None:
        _owner.looks_on = True


@contextmanager
def drained(grace_s: float) -> Iterator[Ending]:
    """While a run works: signals end it in good order. Once told to end, it stays told.

    Where nobody has installed the owner, in a program of somebody else's, none ever comes.
    """
    ending = Ending(grace_s)
    if _owner is None:
        yield ending
        return
    _owner.working = ending
    try:
        yield ending
    finally:
        if not ending.has_come:
            _owner.working = None


def leave_to(parent: int) -> None:
    """In a child: the parent, a process by its id, ends it; and it ends with that, however it ends.

    Leaves the process at once where the parent has ended already.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _wake(number: int, frame: FrameType | None) -> None:
    """Do nothing: that there is a handler makes the interpreter write to the thread's pipe."""


def _quit(text: str) -> None:
    """End the process now."""
    os.write(2, f"synth: {text}\n".encode())
    os._exit(InterruptedRunError.exit_code)
