"""Recount a run: every shard, every row, every record of the journal, against what the books say.

Nothing is believed that can be counted. All that is wrong is found in one pass, each on one line
that names the file.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from pipeline import manifest
from pipeline.errors import DamagedError, SynthError
from pipeline.inspect import open_run
from pipeline.manifest import RunManifest, StageManifest
from pipeline.readable import check_readable
from pipeline.stage import DraftStage, ImportStage
from pipeline.status import holder
from pipeline.verify.finished import (
    check_export,
    check_inputs,
    check_results,
    check_reviews,
    check_run_manifest,
)
from pipeline.verify.journal import check_journal
from pipeline.verify.model import check_model
from pipeline.verify.report import Report
from pipeline.verify.stage import CountedStage


def verify(path: str | Path) -> Report:
    """Recount a run. Raises one `DamagedError` that lists all that is wrong."""
    report = recount(path)
    if report.findings:
        n = len(report.findings)
        listed = "\n".join(f"- {finding}" for finding in report.findings)
        raise DamagedError(f"{n} thing{'s' if n > 1 else ''} wrong in {path}:\n{listed}")
    return report


def recount(path: str | Path) -> Report:
    """Recount a run and list what is wrong.

    Raises `InputError` where there is no run, `StorageError` where this user may not read it.
    """
    report = Report()
    folder = Path(path)
    check_readable(folder)
    try:
        run = open_run(folder)
    except DamagedError:
        _find_bad_manifests(folder, report)
        return report
    is_finished = run.manifest.status == "finished"
    is_at_work = holder(folder) is not None
    if not is_finished:
        is_cut_off = run.manifest.status == "running" and not is_at_work
        state = "cut off" if is_cut_off else run.manifest.status
        report.notes.append(f"the run is {state}: what is there so far was recounted.")
    for listed in run.manifest.stages:
        if not (folder / listed / "stage.json").is_file():
            report.find(f"{listed}/stage.json", "run.json lists this stage, and it is not there")
    counted = [
        CountedStage(run, state, report).recount(is_at_work=is_at_work)
        for state in run.stage_manifests
    ]
    for before, stage in itertools.pairwise(counted):
        stage.compare_with_input(before, is_finished=is_finished)
    if counted and not isinstance(counted[0].kind, DraftStage | ImportStage):
        report.find(run.stage_manifests[0].folder, "the stage that makes the rows is not there")
    for stage in counted:
        stage.check_slots()
    check_journal(run, counted, report)
    if is_finished:
        check_run_manifest(run, report)
        check_export(run, counted, report)
        check_inputs(run, report)
        check_results(run, report)
        check_reviews(run, report)
    check_model(run, report)
    return report


def _find_bad_manifests(folder: Path, report: Report) -> None:
    for path in (folder / "run.json", *sorted(folder.glob("stages/*/stage.json"))):
        try:
            if path.name == "run.json":
                manifest.read(RunManifest, path)
            else:
                manifest.read(StageManifest, path)
        except SynthError as error:
            report.find(path.relative_to(folder).as_posix(), str(error))
