"""What is installed here, which teachers can be reached, how much disk is free.

Works where dependencies are missing: that is what it is asked about. No key's value is read out.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pipeline import redact, seed_tasks
from pipeline.errors import SynthError
from pipeline.extras import pip_line
from pipeline.teacher import uri
from pipeline.terminal import shorten
from pipeline.version import VERSION

TIMEOUT_S = 3.0
LOW_DISK_BYTES = 256 * 2**20
LONGEST = 300  # characters of what a server said

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def examine(teachers: tuple[str, ...]) -> tuple[str, bool]:
    """A report for people, and whether all that a run needs, and every given teacher, is there."""
    lines = [f"synth {VERSION}, Python {platform.python_version()} ({sys.executable})"]
    is_well = True
    core, extras = requirements()
    lines += ["", "needed"]
    for name in core:
        found = installed(name)
        is_well = is_well and found is not None
        lines.append(f"  {name:14} {found or f'missing: {pip_line()}'}")
    lines += ["", "extras"]
    for extra, names in extras.items():
        missing = [name for name in names if installed(name) is None]
        state = f"lacks {', '.join(missing)}: {pip_line(extra)}" if missing else "installed"
        lines.append(f"  {extra:14} {state}")
    lines += ["", "environment", *_environment()]
    if teachers:
        lines += ["", "teachers"]
    for teacher in teachers:
        for state, is_there in _examine_teacher(teacher):
            is_well = is_well and is_there
            lines.append(f"  {'' if is_there else 'NOT '}{state}")
    lines += ["", "here"]
    lines.append(f"  compiled code  {_compiled()}")
    free = shutil.disk_usage(".").free
    wants = f", and a run wants {LOW_DISK_BYTES // 2**20} MiB: make room"
    low = "" if free >= LOW_DISK_BYTES else wants
    is_well = is_well and not low
    lines.append(f"  free disk      {free / 2**30:.1f} GiB{low}")
    try:
        lines.append(f"  seed tasks     {len(seed_tasks.load('builtin').tasks)} built in")
    except SynthError as error:
        is_well = False
        lines.append(f"  seed tasks     {shorten(str(error), LONGEST)}")
    return "\n".join(lines) + "\n", is_well


def _compiled() -> str:
    """Compile the novelty filter, or read what was compiled, so that no run has to wait for it."""
    try:
        from filters.novelty.loading import loading

        began = time.monotonic()
        loading().join()
        if loading().failure is not None:
            return f"cannot be kept or read ({loading().failure}): novelty runs without, slower"
        from filters.compiled import place
        from filters.novelty import kernels
    except ImportError as error:
        return f"{error.name} is missing: {pip_line()}"
    took = f"ready after {time.monotonic() - began:.1f} s"
    where = place(kernels.stream)
    if where is None:
        return f"{took}, and again in every process: set NUMBA_CACHE_DIR to a folder of yours"
    return f"{took}, kept in {where}"


def requirements() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The packages that synth needs, and those of each extra, by name.

    An extra of a package that is needed is named for the package that it brings (openai[aiohttp]).
    """
    try:
        lines = metadata.requires("synth") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        project = Path(__file__).parent.parent / "pyproject.toml"
        tree = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        lines = list(tree["dependencies"])
        for extra, needed in tree["optional-dependencies"].items():
            lines += [f"{one} ; extra == '{extra}'" for one in needed]
    core: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in lines:
        match, extra = _NAME.match(line), _EXTRA.search(line)
        if match is None:
            continue
        if extra is None:
            core.append(match[1])
            core += [part.strip() for part in (match[2] or "").split(",") if part]
        elif match[1] == "synth":  # an extra made of others
            names = [part.strip() for part in (match[2] or "").split(",")]
            extras.setdefault(extra[1], []).extend(f"synth[{name}]" for name in names)
        else:
            extras.setdefault(extra[1], []).append(match[1])
    return tuple(core), {name: tuple(_flat(name, extras)) for name in extras}


def _flat(extra: str, extras: dict[str, list[str]]) -> Iterator[str]:
    for name in extras.get(extra, ()):
        if name.startswith("synth["):
            yield from _flat(name[6:-1], extras)
        else:
            yield name


def installed(name: str) -> str | None:
    """The version of an installed package; null where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _environment() -> Iterator[str]:
    others = sorted(name for name in os.environ if name.endswith("_API_KEY"))
    for name in dict.fromkeys(("OPENAI_API_KEY", "OPENAI_BASE_URL", *others)):
        yield f"  {name:14} {'set' if os.environ.get(name) else 'not set'}"


def _examine_teacher(teacher: str) -> Iterator[tuple[str, bool]]:
    """One line for each server of a teacher, and whether it can be used."""
    try:
        parsed = uri.parse(teacher)
        if parsed.scheme == "offline":
            yield "ready: offline (ships with synth, not a language model)", True
            return
        if parsed.scheme in ("st", "hf"):
            for_what = "for vectors" if parsed.scheme == "st" else "for token loss"
            where = "the folder" if parsed.folder else "a model of the hub,"
            said = "there" if parsed.folder else "named"
            yield f"{said}: {where} {shorten(parsed.place, 120)}, {for_what}", True
            return
        if parsed.scheme == "vllm":
            from pipeline.teacher.settings import VLLMSettings
            from pipeline.teacher.vllm.command import check_installed

            check_installed(VLLMSettings.model_validate({}), "teacher")
            yield f"ready: vLLM is here; a run starts it with {shorten(parsed.place, 120)}", True
            return
        key = uri.key_for(parsed, None)
    except SynthError as error:
        yield f"usable: {shorten(redact.text(teacher), 80)}: {shorten(str(error), LONGEST)}", False
        return
    for url in parsed.urls:
        one = uri.TeacherURI(parsed.scheme, parsed.model, (url,))
        problem = _reach(one, key)
        name = shorten(f"{parsed.model} at {url}", 120)
        if problem is None:
            yield f"reachable: {name}", True
        else:
            yield f"reachable: {name}: {shorten(redact.text(problem), LONGEST)}", False


def _reach(teacher: uri.TeacherURI, key: str) -> str | None:
    """Ask one server for its models, unpaid; gives what is wrong, null where it answers."""
    try:
        from pipeline.teacher.call import Unanswered
        from pipeline.teacher.openai_teacher import OpenAITeacher
        from pipeline.teacher.settings import TeacherSettings
    except ImportError as error:
        return f"{error.name} is missing: {pip_line()}"
    settings = TeacherSettings(connect_timeout_s=TIMEOUT_S, timeout_s=TIMEOUT_S)

    async def check() -> None:
        client = OpenAITeacher(teacher, key, settings)
        try:
            await client.check()
        finally:
            await client.close()

    try:
        asyncio.run(check())
    except (SynthError, Unanswered) as error:
        return str(error)
    return None
