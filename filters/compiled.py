"""Functions that numba compiles once on a machine, for all processes that come after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at the first call, and keep the machine code for later processes.

    numba keeps it in NUMBA_CACHE_DIR, or beside the function's file, or under the user's cache
    folder, whichever can be written first; it writes a file aside and renames it, so processes do
    not disturb each other. Where none can be written, code that lies in one is still taken, and
    what is missing is compiled by every process for itself. So is what was cut off or finds a full
    disk: it is never a reason to stop.
    """
    dispatcher = numba.njit(nogil=True)(function)
    for cache in (_Cache, _ReadOnlyCache):
        with contextlib.suppress(RuntimeError):  # numba found no such place
            cast(Any, dispatcher)._cache = cache(function)  # type: ignore[no-untyped-call]
            break
    return cast(Function, dispatcher)


def place(function: Callable[..., object]) -> Path | None:
    """The folder that a compiled function's machine code is kept in or taken from, if any."""
    path = cast(Any, function)._cache.cache_path
    return None if path is None else Path(path)


def _check_readable(locator: Any) -> None:  # noqa: ANN401 - untyped package
    if next(Path(locator.get_cache_path()).glob("*.nbi"), None) is None:
        raise OSError


class _ReadOnlyImpl(CompileResultCacheImpl):
    """Where numba looks, with a folder of machine code in place of one that can be written."""

    def __init__(self, function: object) -> None:
        """Raises RuntimeError where no such folder is."""
        locators: list[Any] = [
            type(locator.__name__, (locator,), {"ensure_cache_path": _check_readable})
            for locator in CompileResultCacheImpl._locator_classes
        ]
        self._locator_classes = locators
        super().__init__(function)  # type: ignore[no-untyped-call]


class _Cache(FunctionCache):
    """numba's cache, whose files may be damaged (it does not sync them) and may find no room."""

    def load_overload(self, sig: object, target_context: object) -> object:
        """Take what was compiled; None, and an empty index, where it cannot be read."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001 - a damaged pickle raises anything
            with contextlib.suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: object, data: object) -> None:
        """Keep the machine code if there is room for it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


class _ReadOnlyCache(_Cache):
    """numba's cache in a place that cannot be written."""

    _impl_class = _ReadOnlyImpl  # type: ignore[assignment]

    def save_overload(self, sig: object, data: object) -> None:
        """Keep nothing."""
