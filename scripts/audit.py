"""Ask whether the locked packages have known weaknesses, and write down what they are.

    python scripts/audit.py --tools .venv-audit/bin --sbom dist/sbom.cdx.json     # make audit

`pip-audit` asks a database of advisories for every package of `requirements.lock`; one that it
cannot ask about it passes over and ends with 0. Here that is said, and is no good end: 0 is only
where each package was asked about and none is listed, 1 where one is listed, 2 where one could not
be asked about. `cyclonedx-py` writes the list of packages (SBOM).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit code and what is to be said of a report of `pip-audit`."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {', '.join([one['id'], *one['aliases']])}; "
        f"mended in {', '.join(one['fix_versions']) or 'no version yet'}"
        for package in packages
        for one in package.get("vulns", ())
    ]
    said = [f"{len(packages) - len(skipped)} of {len(packages)} packages were asked about."]
    if skipped:
        said.append(f"NOT AUDITED: {len(skipped)} packages, e.g. {skipped[0]['skip_reason']}")
    said += found or ([] if skipped else ["No advisory names any of them."])
    return (1 if found else 2 if skipped or not packages else 0), said


def audit(tools: Path, service: str) -> tuple[int, list[str]]:
    """Run `pip-audit` over the lock."""
    line = [str(tools / "pip-audit"), "--requirement", str(LOCK), "--require-hashes"]
    line += ["--disable-pip", "--progress-spinner", "off", "--format", "json", "-s", service]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return 2, [f"NOT AUDITED: the database of advisories cannot be asked: {last[:300]}"]
    return verdict(report)


def write_sbom(tools: Path, target: Path) -> int:
    """Write the packages of the lock as a CycloneDX file; gives how many."""
    target.parent.mkdir(parents=True, exist_ok=True)
    line = [str(tools / "cyclonedx-py"), "requirements", str(LOCK), "--output-reproducible"]
    line += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(target)]
    subprocess.run(line, check=True)
    return len(json.loads(target.read_bytes())["components"])


def main() -> int:
    """Audit, then write the list of packages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tools", type=Path, required=True, help="where the two programs are")
    parser.add_argument("--sbom", type=Path, required=True)
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi")
    given = parser.parse_args()
    code, said = audit(given.tools, given.service)
    print("\n".join(said))
    print(f"{given.sbom}: {write_sbom(given.tools, given.sbom)} packages")
    return code


if __name__ == "__main__":
    sys.exit(main())
