"""What a run trained, compared with its list."""

from __future__ import annotations

from pipeline.inspect import Run
from pipeline.model_files import MODEL, REMOVED, faults, is_unlisted, listed, trains
from pipeline.verify.report import Report


def check_model(run: Run, report: Report) -> None:
    """Every file of `model/` that the books list is there, byte for byte."""
    for state in run.stage_manifests:
        if not trains(state):
            continue
        why = state.measures.get(REMOVED)
        if why is not None:
            report.notes.append(f"{MODEL}/ is not there any more: {why}. Train another.")
            continue
        if is_unlisted(run.path, state):
            report.notes.append(
                f"{MODEL}/ was trained before synth listed the files of a model: whether they are "
                "as they were is not known."
            )
            continue
        wrong = list(faults(run.path, state))
        for where, what in wrong:
            report.find(where, what)
        if not wrong:
            found = listed(run.path, state)
            report.files += len(found)
            report.bytes += sum(one.bytes for one in found)
