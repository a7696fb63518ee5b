"""What a server's log says of why it ended."""

from __future__ import annotations

import re
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
ERROR = re.compile(r"^(?:[\w.]*\.)?[A-Z]\w*(?:Error|Exception)\b.*")
SAYS_NOTHING = ("See root cause above", "See stack trace above")
HINTS = {
    re.compile(
        r"out of memory|No available memory for the cache|larger than the (?:available|maximum)"
        r"|Free memory on device|MemoryError|not enough memory|cannot allocate memory",
        re.IGNORECASE,
    ): "It has too little memory: lower {role}.vllm.max_model_len or "
    "{role}.vllm.gpu_memory_utilization, spread it over more GPUs with "
    "{role}.vllm.tensor_parallel_size, or take a smaller model.",
    re.compile(r"[Aa]ddress already in use"): "Its port is taken: leave {role}.vllm.port out, and "
    "a free one is taken.",
}


def lines(path: Path) -> list[str]:
    """The last lines of a log, each on one line of text, what tells of nothing left out."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - READ, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    cut = (PREFIX.sub("", line).strip() for line in redact.text(text).splitlines())
    return [safe(line, keep_lines=False)[:LONGEST] for line in cut if line]


def last_words(path: Path) -> list[str]:
    """What a server said last: the errors that it names, each once, and its last lines."""
    said = lines(path)
    errors = [line for line in said[:-LAST] if ERROR.match(line)]
    telling = [line for line in errors if not any(one in line for one in SAYS_NOTHING)]
    return [*list(dict.fromkeys(telling))[-ERRORS:], *said[-LAST:]]


def hint(path: Path, role: str) -> str:
    """What to do about what a server said, where that can be told; else nothing."""
    text = "\n".join(lines(path))
    return next((said.format(role=role) for one, said in HINTS.items() if one.search(text)), "")
