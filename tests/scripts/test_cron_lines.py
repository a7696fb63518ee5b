"""The lines of `scripts/cron.example`, run as cron runs them: `sh -c`, hardly any environment."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scripts.exit_codes import CODES, SCRIPTS
from tests.scripts.stand_ins import Site

LINES = (SCRIPTS / "cron.example").read_text(encoding="utf-8").splitlines()
FIELD = r"(?:\*|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)(?:/\d+)?"
ENTRY = re.compile(rf"((?:{FIELD} ){{5}})(\S.*)")
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


@dataclass(frozen=True)
class Crontab:
    settings: dict[str, str]
    entries: list[tuple[str, str]]  # when, what


def parse() -> Crontab:
    settings, entries = {}, []
    for line in LINES:
        if not line or line.startswith("#"):
            continue
        if setting := re.fullmatch(r"([A-Z_]+)=(\S+)", line):
            settings[setting[1]] = setting[2]
        elif entry := ENTRY.fullmatch(line):
            entries.append((entry[1].strip(), entry[2]))
        else:
            raise AssertionError(f"cron would refuse: {line}")
    return Crontab(settings, entries)


CRONTAB = parse()
NIGHTLY, LONG = (command for _, command in CRONTAB.entries)
EACH = pytest.mark.parametrize("command", [NIGHTLY, LONG], ids=["nightly", "long"])


def run(site: Site, command: str, *steps: int, **settings: str) -> subprocess.CompletedProcess[str]:
    """What cron would do; all that is printed would be mailed."""
    (site.root / "synth.env").write_text("export OPENAI_API_KEY=canary\n", encoding="utf-8")
    today = subprocess.run(["date", "+%F"], capture_output=True, text=True, check=True)
    plan = [{"exit": code} for code in steps]
    site.plan(**{today.stdout.strip(): plan, "long": plan})
    path = f"{site.environment['PATH']}:{CRONTAB.settings['PATH']}"
    own = {"PATH": path, "WORK": str(site.root), "PAUSE": "0"}
    return subprocess.run(
        [CRONTAB.settings["SHELL"], "-c", command.replace(r"\%", "%")],
        env=CRONTAB.settings | site.environment | own | settings,
        cwd=site.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )


def test_times_are_within_their_bounds_and_once_a_night() -> None:
    for when, _ in CRONTAB.entries:
        fields = when.split(" ")
        for field, (least, most) in zip(fields, BOUNDS, strict=True):
            assert all(least <= int(number) <= most for number in re.findall(r"\d+", field))
        assert fields[0].isdigit()
        assert fields[1].isdigit()


def test_mail_goes_to_somebody_and_settings_are_plain_words() -> None:
    assert "@" in CRONTAB.settings["MAILTO"]
    assert not any("$" in value for value in CRONTAB.settings.values()), "cron expands nothing"


@EACH
def test_a_command_has_no_bare_percent_sign_and_fits_cron(command: str) -> None:
    assert not re.search(r"(?<!\\)%", command), "cron ends the command there"
    assert len(command) < 998


@EACH
@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code_is_quiet_or_mailed_as_the_table_says(
    site: Site, command: str, code: int
) -> None:
    again = CODES[code].cron == "again"
    done = run(site, command, code, 0)
    is_mailed = CODES[code].cron == "mail"
    assert (f"synth ended with {code}" in done.stdout) == is_mailed
    assert (done.stdout == "") == (not is_mailed)
    assert done.returncode == (code if is_mailed else 0)
    if is_mailed:
        assert "working" in done.stdout, "the end of the log comes with it"
    assert len(site.events("start")) == (2 if again and command == NIGHTLY else 1)


def test_a_nightly_run_is_tried_again_until_the_tries_are_used_up(site: Site) -> None:
    done = run(site, NIGHTLY, *[75] * 9, TRIES="3")
    assert len(site.events("start")) == 3
    assert "synth ended with 75, try 3" in done.stdout
    assert len({tuple(e["arguments"]) for e in site.events("start")}) == 1, "the same command"


def test_the_long_run_is_told_to_drain_in_the_morning(site: Site) -> None:
    (site.root / "synth.env").touch()
    assert " 8h " in LONG
    site.plan(long=[{"drain": 0.1}])
    done = subprocess.run(
        ["sh", "-c", LONG.replace(" 8h ", " 1s ")],
        env=site.environment | {"WORK": str(site.root)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # timeout tells the process and then its group: one that is quick hears it twice
    assert {e["signal"] for e in site.events("signal")} == {"SIGTERM"}
    assert [e["code"] for e in site.events("end")] == [75]
    assert (done.stdout, done.stderr) == ("", "")


@EACH
def test_the_key_reaches_synth_and_stays_out_of_logs_and_mail(site: Site, command: str) -> None:
    done = run(site, command, 5)
    assert [e["OPENAI_API_KEY"] for e in site.events("start")] == ["canary"]
    assert not any("canary" in str(e["arguments"]) for e in site.events("start"))
    logs = [path.read_text(encoding="utf-8") for path in Path(site.root).glob("runs/*.log")]
    assert logs
    assert "canary" not in done.stdout + "".join(logs)


@EACH
def test_a_missing_folder_is_mailed_and_nothing_starts(site: Site, command: str) -> None:
    done = run(site, command, 0, WORK=str(site.root / "gone"))
    assert done.returncode != 0
    assert "gone" in done.stdout
    assert not site.events("start")
