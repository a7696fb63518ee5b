"""One set of files whatever the concurrency, hash seed, time zone and language (row 51)."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash import campaign, published
from tests.crash.workload import Workload
from tests.teacher_server.process import Server, running_server

CONCURRENCY, HASH_SEEDS = (1, 8, 64), ("0", "1", "random")
ZONES, TONGUES = ("Asia/Kathmandu", "America/St_Johns"), ("C", "en_US.UTF-8", "tr_TR.UTF-8")
ALL = tuple(itertools.product(CONCURRENCY, HASH_SEEDS, ZONES, TONGUES))
PAIRS = tuple(  # nine in which every two of concurrency, hash seed and language meet once
    (at_once, HASH_SEEDS[number], ZONES[(row + number) % 2], TONGUES[(row + number) % 3])
    for row, at_once in enumerate(CONCURRENCY)
    for number in range(3)
)
IS_SOAK = bool(os.environ.get("SYNTH_SOAK"))
WORKLOAD = Workload(target=20, concurrency=64, shard_rows=10, median_s=0.004)
SAYS_WHERE = (
    "import locale, time; locale.setlocale(locale.LC_ALL, ''); "
    "print(locale.localeconv()['decimal_point'], time.strftime('%z'))"
)


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the languages, compiled: few machines have them all."""
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not installed")
    folder = tmp_path_factory.mktemp("languages")
    for name in TONGUES[1:]:
        source = name.partition(".")[0]
        made = subprocess.run(
            ["localedef", "-i", source, "-f", "UTF-8", str(folder / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not (folder / name).exists():
            pytest.skip(f"localedef cannot make {name}: {made.stderr[:200]}")
    return folder


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, Path]:
    folder = tmp_path_factory.mktemp("over-http")
    with running_server(folder / "server.jsonl") as server:
        server.set_plan(WORKLOAD.plan())
        ends(WORKLOAD.command(folder / "run", server.url), WORKLOAD, folder / "said", {})
        yield server, folder / "run"


def ends(line: Sequence[str], workload: Workload, said: Path, variables: dict[str, str]) -> None:
    process = campaign.start(line, workload, said, **variables)
    assert process.wait(campaign.LONGEST_RUN_S) == 0, said.read_text()[-500:]


def surroundings(seed: str, zone: str, tongue: str, languages: Path) -> dict[str, str]:
    named = {"PYTHONHASHSEED": seed, "TZ": zone, "LANG": tongue, "LC_ALL": tongue}
    return named | {"LOCPATH": str(languages)}


@pytest.mark.parametrize(("at_once", "seed", "zone", "tongue"), ALL if IS_SOAK else PAIRS)
def test_concurrency_hash_seed_time_zone_and_language_change_no_byte(
    over_http: tuple[Server, Path],
    languages: Path,
    tmp_path: Path,
    at_once: int,
    seed: str,
    zone: str,
    tongue: str,
) -> None:
    server, clean = over_http
    workload = replace(WORKLOAD, settings=(f"teacher.concurrency={at_once}",))
    variables = surroundings(seed, zone, tongue, languages)
    out = tmp_path / "run"
    n_before = server.counts()["requests_chat"]
    ends(workload.command(out, server.url), workload, tmp_path / "said", variables)
    assert server.counts()["requests_chat"] > n_before
    assert published.data_files(out) == published.data_files(clean)


def test_the_nine_runs_meet_every_pair_and_every_value() -> None:
    for one, other in itertools.combinations((0, 1, 3), 2):
        met = {(case[one], case[other]) for case in PAIRS}
        assert len(met) == 9
    assert {case[2] for case in PAIRS} == set(ZONES)


def test_the_languages_and_time_zones_are_really_in_force(languages: Path, tmp_path: Path) -> None:
    found = {}
    for zone, tongue in itertools.product(ZONES, TONGUES):
        said = subprocess.run(
            ["python3", "-c", SAYS_WHERE],
            env=os.environ | surroundings("0", zone, tongue, languages),
            capture_output=True,
            text=True,
            check=True,
        )
        found[zone, tongue] = said.stdout.split()
    assert {point for point, _ in found.values()} == {".", ","}, "no Turkish numbers"
    assert found[ZONES[0], "C"][1] == "+0545"
    assert found[ZONES[1], "C"][1] in ("-0330", "-0230")
