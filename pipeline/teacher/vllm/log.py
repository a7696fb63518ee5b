"""What a server's log says of why it ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline import redact
from pipeline.terminal import safe

READ = 256 * 1024
"""Bytes at the end of a log that are read."""
LAST = 4
ERRORS = 3
LONGEST = 300
PREFIX = re.compile(r"^(?:\([^()]*\) )?(?:(?:ERROR|INFO|WARNING) [\d-]+ [\d:.]+ \[[^\]]*\] )?")
"""What vLLM writes before a line: the process, the level, the time, the place in its code."""
ERROR = re.compile(r"^(?:(?:[\w.]*\.)?[A-Z]\w*(?:Error|Exception)\b.*|Value error, )")
FRAME = re.compile(r'^\s*File "[^"]*", line \d+')
DEEPER = " " * 4
"""What a traceback shows of a frame's code stands at least so deep."""
NOISE = re.compile(
    r"^\s*(?:Traceback \(most recent call last\):|\[shutdown\]|warnings\.warn\(|\[type=\w+, input"
    r"|For further information visit|Dumping (?:input data|scheduler)|During handling of the above"
    r"|INFO: +(?:Shutting down|Waiting for app|Application (?:shut|start)|(?:Fini|Star)\w+ server))"
    r"|resource_tracker: There appear"
)
"""What it says however it ended, or what nobody reads in a message."""
SAYS_NOTHING = ("See root cause above", "See stack trace above", "See stack trace (above)")
HINTS = {
    re.compile(r"No available memory for the cache|larger than the (?:available|maximum)"): "It "
    "has too little memory for a request of that length: lower {role}.vllm.max_model_len, raise "
    "{role}.vllm.gpu_memory_utilization (without a GPU: the variable VLLM_CPU_KVCACHE_SPACE, in "
    "GiB), or spread it over more GPUs with {role}.vllm.tensor_parallel_size.",
    re.compile(
        r"out of memory|Free memory on device|MemoryError|not enough memory"
        r"|cannot allocate memory",
        re.IGNORECASE,
    ): "It has too little memory: lower {role}.vllm.max_model_len or "
    "{role}.vllm.gpu_memory_utilization, spread it over more GPUs with "
    "{role}.vllm.tensor_parallel_size, or take a smaller model.",
    re.compile(r"[Aa]ddress already in use"): "Its port is taken: leave {role}.vllm.port out, and "
    "a free one is taken.",
}


def lines(path: Path, since: int = 0) -> list[str]:
    """The last lines of a log, each on one line of text, what tells nothing left out.

    What stands before the byte `since` was said by another server.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - READ, since))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    cut = (PREFIX.sub("", line).rstrip() for line in redact.text(text).splitlines())
    return [safe(line.strip(), keep_lines=False)[:LONGEST] for line in _telling(cut) if line]


def _telling(said: Iterable[str]) -> Iterator[str]:
    """The lines without the frames of tracebacks, and without what is said at every end."""
    is_frame = False
    for line in said:
        is_frame = FRAME.match(line) is not None or (is_frame and line.startswith(DEEPER))
        if not is_frame and NOISE.search(line) is None:
            yield line


def last_words(said: Sequence[str]) -> list[str]:
    """Of what a server said, the errors that it names, each once, and its last lines."""
    last = said[-LAST:]
    errors = [line for line in said[:-LAST] if ERROR.match(line) and line not in last]
    telling = [line for line in errors if not any(one in line for one in SAYS_NOTHING)]
    return [*list(dict.fromkeys(telling))[-ERRORS:], *last]


def hint(said: Sequence[str], role: str) -> str:
    """What to do about what a server said, where that can be told; else nothing."""
    text = "\n".join(said)
    return next((what.format(role=role) for one, what in HINTS.items() if one.search(text)), "")
