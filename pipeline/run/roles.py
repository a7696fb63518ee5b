"""Whom a stage asks: the teacher, which writes, or the judge, which rates."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.stage import ChainStage, Stage
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import TeacherURI


@dataclass(frozen=True, slots=True)
class Asked:
    """A model that stages ask: its name and servers, its key, and how hard it is asked."""

    uri: TeacherURI
    key: str
    settings: TeacherSettings


def wants_judge(stage: Stage) -> bool:
    """Whether a stage asks the judge, where one is named."""
    return isinstance(stage, ChainStage) and stage.role == "judge"
