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
    what is missing is compiled by every process for itself.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba found no place that it may write to
        dispatcher = numba.njit(nogil=True)(function)
    with contextlib.suppress(RuntimeError):  # raised where there is none to read from, either
        cast(Any, dispatcher)._cache = _ReadOnlyCache(function)  # type: ignore[no-untyped-call]
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


class _ReadOnlyCache(FunctionCache):
    """numba's cache in a place that cannot be written."""

    _impl_class = _ReadOnlyImpl

    def save_overload(self, sig: object, data: object) -> None:
        """Keep nothing."""
