"""Run the command line as a process of its own and look at all that it left behind."""

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[2]
SECRET_NAMES = ("KEY", "TOKEN", "SECRET")
CLI = "from pipeline.cli import main; main()"


def environment(**more: str) -> dict[str, str]:
    """This process's variables without keys and addresses of teachers, and `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENAI") and not any(part in name for part in SECRET_NAMES)
    }
    return kept | {"PYTHONPATH": str(ROOT)} | more


def line(*arguments: str, before: str = "") -> list[str]:
    """The command `synth ARGUMENTS`; `before` is Python that is run before it."""
    return [sys.executable, "-c", f"{before}\n{CLI}" if before else CLI, *arguments]


def synth(
    *arguments: str,
    before: str = "",
    variables: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[bytes]:
    """Run `synth ARGUMENTS` to its end."""
    return subprocess.run(
        line(*arguments, before=before),
        env=environment(**dict(variables or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=timeout,
    )


def codings(key: str) -> list[bytes]:
    """How a key may be hidden in bytes: raw, by halves, in an address, in hex, in base64."""
    raw = key.encode()
    half = len(raw) // 2
    found = [raw, raw[:half], raw[half:], quote(key, safe="").encode(), raw.hex().encode()]
    found += [raw[::-1], raw.hex().upper().encode(), raw.decode().encode("utf-16-le")]
    for before in range(3):  # wherever in a longer text it begins; without its edges
        found.append(base64.b64encode(b"_" * before + raw)[4:-4])
        found.append(base64.urlsafe_b64encode(b"_" * before + raw)[4:-4])
    return found


def holding(key: str, *places: Path | bytes) -> list[str]:
    """Which files below `places`, and which bytes, hold the key in any coding."""
    found = []
    for place in places:
        contents = (
            {"(said)": place}
            if isinstance(place, bytes)
            else {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        )
        found += [
            f"{name}: {coding[:60]!r}"
            for name, content in contents.items()
            for coding in codings(key)
            if coding in content
        ]
    return found
