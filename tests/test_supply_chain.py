"""S10: what is installed is pinned by hash, few, asked about; the wheel is the same each time."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.audit import verdict

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LINE = re.compile(
    r"^(\S+==\S+)( ; [^\\]+?)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)
HERE = [
    requirement
    for found in LINE.finditer(LOCK)
    if (requirement := Requirement("".join(part or "" for part in found.groups()[:2])))
    and (requirement.marker is None or requirement.marker.evaluate())
]
LOCKED = {canonicalize_name(one.name): str(one.specifier)[2:] for one in HERE}


def test_every_line_of_the_lock_is_one_version_with_its_hashes() -> None:
    lines = [line for line in LOCK.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(LINE.findall(LOCK)) == len(lines) > 30


def test_the_core_is_forty_packages_at_most_and_none_of_them_heavy() -> None:
    assert len(LOCKED) <= 40
    assert not {"torch", "vllm", "transformers", "datasets", "pandas", "scipy"} & set(LOCKED)


def test_the_lock_holds_what_the_project_asks_for_in_the_versions_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(LOCKED[canonicalize_name(wanted.name)]), line
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: tested[name] for name in LOCKED if name in tested} == {
        name: version for name, version in LOCKED.items() if name in tested
    }
    assert len(set(LOCKED) & set(tested)) > 30


def package(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "version": "1.0", **more}


WEAK = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}


def test_an_audit_is_clean_only_if_each_package_was_asked_about() -> None:
    asked, skipped = package("a", vulns=[]), {"name": "b", "skip_reason": "no answer for b"}
    assert verdict({"dependencies": [asked]})[0] == 0
    code, said = verdict({"dependencies": [asked, skipped]})
    assert code == 2
    assert "1 of 2" in said[0]
    assert "NOT AUDITED: 1 packages, e.g. no answer for b" in said
    assert verdict({"dependencies": []})[0] == 2


def test_an_advisory_is_named_whatever_else_could_not_be_asked_about() -> None:
    skipped = {"name": "b", "skip_reason": "no answer for b"}
    code, said = verdict({"dependencies": [package("a", vulns=[WEAK]), skipped]})
    assert code == 1
    assert "a 1.0: PYSEC-1, CVE-2026-1; mended in 1.1" in said


def test_a_database_that_cannot_be_asked_is_no_clean_audit(tmp_path: Path) -> None:
    """`pip-audit` stands for one that fails, as it does without a network."""
    for name in ("pip-audit", "cyclonedx-py"):
        (tmp_path / name).write_text(
            '#!/bin/sh\nif [ "$1" = requirements ]; then\n'
            'echo \'{"components": []}\' > "$7"; exit 0; fi\n'
            "echo cannot resolve the name >&2; exit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    line = [sys.executable, str(ROOT / "scripts/audit.py"), "--tools", str(tmp_path)]
    done = subprocess.run(
        [*line, "--sbom", str(tmp_path / "sbom.json")], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "NOT AUDITED" in done.stdout
    assert "cannot resolve the name" in done.stdout


def built(source: Path, out: Path, mask: int) -> str:
    """SHA-256 of a wheel that is built from a copy of the checkout, with another umask and age."""
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "dist", "__pycache__", "tests")
    )
    for number, path in enumerate(sorted(source.rglob("*"))):
        os.utime(path, (1e9 + mask * 1000 + number,) * 2)
    line = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    subprocess.run(
        [*line, str(source)], check=True, capture_output=True, umask=mask, env=environment
    )
    (wheel,) = out.glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_two_builds_give_the_same_wheel(tmp_path: Path) -> None:
    first = built(tmp_path / "one", tmp_path / "out-1", 0o022)
    second = built(tmp_path / "other/place", tmp_path / "out-2", 0o077)
    assert first == second
