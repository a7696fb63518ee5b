"""Run every command that the README shows and write what it answers into the README.

    python scripts/readme_examples.py            # show what the section would be
    python scripts/readme_examples.py --write    # put it into README.md

Between the two markers of the README stand the commands below with their real answers, all with the
offline teacher, in a folder that is thrown away. A test runs them again and compares.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- examples: begin -->\n", "<!-- examples: end -->\n"
MOST_LINES = 24

SHOWN: tuple[tuple[str, str], ...] = (
    ("What recipes there are; `synth recipes NAME` prints one.", "synth recipes"),
    (
        "What a run would ask, before anything is sent.",
        "synth plan self-instruct --limit 100 --out runs/planned --teacher openai:my-model "
        "--set 'prices={my-model: {input: 0.25, output: 2}}'",
    ),
    (
        "Run it. The same command goes on with a run that was ended.",
        "synth run self-instruct --limit 100 --out runs/demo",
    ),
    (
        "How far it is, also while it works. Replies not used came to requests that were open when "
        "the target was reached:\npaid for, kept in the journal, in no row. A stage that is "
        "`outdated` is made again once the run comes to it.",
        "synth status runs/demo",
    ),
    ("Kept rows of the last stage, or of one that is named.", "synth show runs/demo --limit 2"),
    (
        "Dropped rows, and those that meet a condition over the columns.",
        "synth show runs/demo bootstrap --dropped --limit 2 --where \"drop_reason = 'not_novel'\"",
    ),
    (
        "A page of the run for the browser (extra `report`, below): funnel, distributions, rows "
        "and where they come from.",
        "synth report runs/demo",
    ),
    (
        "The whole history of one row: what was shown, who was asked, what it met.",
        "synth why runs/demo instances-000000-00",
    ),
    ("Recount everything: checksums, schema, rows, journal.", "synth verify runs/demo"),
    (
        "Mend what `verify` finds damaged: whole replies are kept, only lost ones asked for again.",
        "synth repair runs/demo",
    ),
    (
        "Other rules after the loop, in a new run: nothing is asked again.",
        "synth run self-instruct --from runs/demo --out runs/short "
        "--set 'filter.filters={word_count: {at_most: 30}, outputs: {}, instances: {}}'",
    ),
    (
        "What that changed: rows gained, lost and changed, by id and by all their texts "
        "(conversations and both answers of a pair\ntoo), and which rule took those that were lost."
        " An id says a place: a row with none of the texts that were there is another row.",
        "synth diff runs/demo runs/short --limit 1",
    ),
    (
        "One stage alone, on the rows of any stage of a finished run.",
        "synth run filter --input runs/demo:instances --out runs/filtered",
    ),
    (
        "Two data sets as one, with even shares.",
        "synth run mix --input runs/demo --input before=runs/demo:bootstrap --out runs/mixed "
        "--set mix.method=weights --set 'mix.weights={demo: 1, before: 1}'",
    ),
    (
        "Forty rows that stand for all of them.",
        "synth run select --input runs/mixed --out runs/few --set select.count=40",
    ),
    (
        "Other rows shown as demonstrations before half of the rows, the most similar last.",
        "synth run format --input runs/demo --out runs/shown "
        "--set format.with_demonstrations=0.5 --set format.most=1",
    ),
    (
        "Whole tasks, several a request, from seed tasks.",
        "synth run one-call --limit 50 --out runs/whole",
    ),
    (
        "Other answers to the rows of a run: three samples each, step by step, and a vote.",
        "synth run respond --input runs/demo --out runs/voted",
    ),
    (
        "Only those on which all samples agree: nothing is asked again.",
        "synth run respond --from runs/voted --out runs/agreed "
        "--set 'filter.filters={agreement: {at_least: 1.0, keep_unvoted: false}}'",
    ),
    (
        "Instructions for the answers that are there, each pair rated, the best kept.",
        "synth run backtranslate --input runs/demo --out runs/back",
    ),
    (
        "All shards again from the journal, without one request: after a parser has changed, say. "
        "With `--out NEW --set\nstage.key=value` it is done under other settings beside the old "
        "run; rows that now need a reply that nobody has are\ndropped as `not_asked`, and "
        "`synth run NEW` asks only for those.",
        "synth replay runs/demo",
    ),
    (
        "One file instead of a data set. In CSV no cell is a formula (an apostrophe stands before "
        "such texts), and a spreadsheet may\nstill show `007` as 7 and round long numbers: Parquet "
        "and JSON Lines are exact.",
        "synth export runs/demo --format jsonl",
    ),
    (
        "What would go to the Hugging Face hub; without `--dry-run` it goes, as one commit "
        "(extra `hub`, below).",
        "synth push runs/demo my-org/instructions --dry-run",
    ),
    (
        "Rate what is there, with a judge of its own, and keep the best.",
        "synth run curate --input runs/demo --judge offline --out runs/rated",
    ),
    (
        "Another threshold in a new run: the ratings are there, nobody is asked.",
        "synth run curate --from runs/rated --out runs/more --set rate.keep_at_least=4",
    ),
    (
        "A row that has to go: out of shards, journal and data set; the run stays whole.",
        "synth purge runs/rated --row instances-000000-00",
    ),
    ("The stages and the class of each setting.", "synth stages"),
    ("What is installed and reachable.", "synth doctor --teacher offline"),
)


def render(folder: Path) -> str:
    """The section between the markers, from commands run in `folder`."""
    blocks = []
    for says, command in SHOWN:
        line = [sys.executable, "-m", "pipeline.cli", *shlex.split(command)[1:]]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr}")
        answer = (done.stdout or done.stderr).rstrip("\n").split("\n")
        if len(answer) > MOST_LINES:
            answer = [*answer[: MOST_LINES - 2], "..."]
        text = "\n".join(line.rstrip() for line in answer)
        text = text.replace(sys.executable, ".venv/bin/python")
        blocks.append(f"{says}\n\n```console\n$ {command}\n{text}\n```\n")
    return "\n" + "\n".join(blocks) + "\n"


def without_what_varies(text: str) -> str:
    """The text without times, dates, versions and free space, which differ from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+.]+", "DATE", text)
    text = re.sub(r"\d+(\.\d+)? (s|GiB|MiB)\b", "# \\2", text)
    text = re.sub(r"\b\d+\.\d+(\.\w+)*\b", "#", text)
    text = re.sub(r"(OPENAI_\w+) +.*", "\\1", text)
    text = re.sub(r"\(\d+ bytes\)", "(# bytes)", text)
    text = re.sub(r"(lacks .*|installed)$", "", text, flags=re.MULTILINE)
    return re.sub(r" +", " ", text)


def section(readme: str) -> str:
    """What stands between the markers."""
    return readme.split(BEGIN)[1].split(END)[0]


def main() -> None:
    """Show the section, or write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the section into README.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = render(Path(folder))
    if not arguments.write:
        print(text)
        return
    head, tail = README.read_text(encoding="utf-8").split(BEGIN)
    README.write_text(head + BEGIN + text + END + tail.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
