"""What `run.json` and `stage.json` say, and how they are read and replaced.

Both carry a format version. A reader of version N reads older ones; a newer one is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, computed_field

from pipeline.durable import replacing
from pipeline.errors import DamagedError
from pipeline.format_version import refuse_newer
from pipeline.readable import not_permitted

FORMAT = 1
"""Version of the run directory, its manifests and its journal."""
NEEDS = "0.1.0"
"""The first synth that reads this format."""

Half = Literal["kept", "dropped"]
"""The two folders of a stage's shards."""
HALVES: tuple[Half, ...] = ("kept", "dropped")


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")  # computed fields are written out for people


_OWN_PATH = re.compile(r"([A-Za-z0-9_-]+/)*[A-Za-z0-9][A-Za-z0-9._-]*")


def _own(path: str) -> str:
    if _OWN_PATH.fullmatch(path) is None:
        raise ValueError(f"{path!r} is no path below its folder")
    return path


OwnPath = Annotated[str, AfterValidator(_own)]
"""A path below a folder of the run: whoever gives a run away cannot point out of it."""


class FileEntry(_Manifest):
    """One published Parquet file: path below the stage's folder, rows, bytes, SHA-256."""

    path: OwnPath
    rows: int
    bytes: int
    sha256: str


class Part(_Manifest):
    """What one stretch of slots gave: a kept and a dropped shard.

    `first_slot` to `next_slot` (exclusive) are the slots in it; `journal` is the highest journal
    record that it used; `candidates` counts rows as they came, before they were split.
    """

    first_slot: int
    next_slot: int
    candidates: int
    kept: FileEntry
    dropped: FileEntry
    dropped_by_reason: dict[str, int]
    journal: int

    def half(self, half: Half) -> FileEntry:
        """The shard of its kept or of its dropped rows."""
        return self.kept if half == "kept" else self.dropped


class Tokens(_Manifest):
    """What one stage asked of one model: requests sent, replies received, their tokens."""

    model: str
    replies: int
    requests: int
    input_tokens: int
    output_tokens: int
    unknown_usage: int
    cost_usd: str | None


class StageManifest(_Manifest):
    """One stage of one run.

    `fingerprint` stands for its settings and those before it, `input_digest` for the shards that a
    stage without a teacher was computed from. `exported` is set by the stage that writes `data/`,
    which has no shards of its own. `namesake` is set where rows came in that a stage of this name
    had made: the ids of the new ones begin with it. `drop_columns` are those that its dropped
    shards have beside `columns`; a stage that does not say has the three of the first runs.
    """

    format: int = FORMAT
    needs: str = NEEDS
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    stage: str
    index: Annotated[int, Field(ge=0)]
    version: int
    fingerprint: str
    input_digest: str | None = None
    columns: tuple[str, ...]
    drop_columns: tuple[str, ...] = ("drop_reason", "drop_detail", "drop_ref")
    settings: dict[str, Any]
    complete: bool = False
    stopped: str | None = None
    next_slot: int = 0
    parts: list[Part] = []
    usage: list[Tokens] = []
    seconds: float = 0.0
    measures: dict[str, Any] = {}
    exported: int | None = None
    namesake: str | None = None

    @property
    def ids_begin_with(self) -> str:
        """What stands before slot and number in the id of a row that the stage made."""
        return self.namesake or self.name

    def columns_of(self, half: Half) -> tuple[str, ...]:
        """The columns of its kept or of its dropped shards."""
        return self.columns if half == "kept" else (*self.columns, *self.drop_columns)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def candidates(self) -> int:
        """Rows received or items read; always `kept` + `dropped`."""
        return self.exported or sum(part.candidates for part in self.parts)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kept(self) -> int:
        """Rows that go on."""
        return self.exported or sum(part.kept.rows for part in self.parts)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def dropped(self) -> int:
        """Rows that a rule dropped."""
        return sum(part.dropped.rows for part in self.parts)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def dropped_by_reason(self) -> dict[str, int]:
        """Dropped rows by reason, most first."""
        counts: dict[str, int] = {}
        for part in self.parts:
            for reason, n in part.dropped_by_reason.items():
                counts[reason] = counts.get(reason, 0) + n
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def kept_digest(self) -> str:
        """One SHA-256 that stands for the content of the kept shards."""
        return hashlib.sha256("".join(part.kept.sha256 for part in self.parts).encode()).hexdigest()

    def kept_so_far(self, parts: int | None = None) -> str:
        """What stands for its first parts, or for all: their number, and a SHA-256.

        It stays the same where the stage only grows at its end.
        """
        first = self.model_copy(update={"parts": self.parts[:parts]})
        return f"{len(first.parts)}:{first.kept_digest}"

    @property
    def folder(self) -> str:
        """The stage's folder below the run: `stages/01-bootstrap`."""
        return stage_folder(self.index, self.name)


def took_the_last(stages: Iterable[StageManifest]) -> StageManifest | None:
    """The stage that kept none of the rows that came to it; null where there is none."""
    return next((stage for stage in stages if stage.candidates and not stage.kept), None)


class Ended(_Manifest):
    """How a run ended before it was finished: its exit code, and what was said."""

    exit_code: int
    message: str


class RunManifest(_Manifest):
    """One run. `identity`, `extent` and `decision` are its settings by class and dotted path.

    `answered_as` has the models that replies named where it was not the one that was asked; `texts`
    has the SHA-256 of its recipe and its card, `data` that of each exported file. `ended` is null
    where nothing went wrong, and where its process was killed. `results` are the files of an
    evaluation, `judge_family` is the family that a judge shares with what it judged.
    """

    format: int = FORMAT
    needs: str = NEEDS
    synth: str
    recipe: str
    status: str
    teacher: str
    judge: str | None = None
    judged_by_teacher: list[str] = []
    started: str
    finished: str | None = None
    ended: Ended | None = None
    seconds: float = 0.0
    identity: dict[str, Any]
    extent: dict[str, Any]
    decision: dict[str, Any]
    input: dict[str, Any] | None = None
    made_from: str | None = None
    stages: list[OwnPath]
    kept: int = 0
    unused_replies: int = 0
    answered_as: list[str] = []
    data: list[FileEntry] = []
    results: list[FileEntry] = []
    judge_family: str | None = None
    texts: dict[OwnPath, str] = {}
    digest: str | None = None

    def digest_of(self, stages: Iterable[StageManifest]) -> str:
        """One SHA-256 over the names and digests of all data files, those of `stages` and ours."""
        lines = [
            f"{stage.folder}/{entry.path} {entry.sha256}"
            for stage in stages
            for part in stage.parts
            for entry in (part.kept, part.dropped)
        ]
        lines += [f"{entry.path} {entry.sha256}" for entry in (*self.data, *self.results)]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


M = TypeVar("M", RunManifest, StageManifest)


def stage_folder(index: int, name: str) -> str:
    """The folder of the stage at `index` (from 0), below the run directory."""
    return f"stages/{index + 1:02d}-{name}"


def read(model: type[M], path: Path) -> M:
    """Read a manifest.

    Raises `DamagedError` where it is not whole, `RecipeError` where it is newer, `StorageError`
    where this user may not read it.
    """
    try:
        tree = json.loads(path.read_bytes())
        if isinstance(tree, dict):
            refuse_newer(path, int(tree.get("format", 0)), FORMAT, tree.get("needs"))
        return model.model_validate(tree)
    except PermissionError as error:
        raise not_permitted(error, path) or error from error
    except (ValueError, ValidationError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {str(error)[:300]}") from error


def replace(path: Path, manifest: BaseModel) -> None:
    """Replace a manifest as one step: a reader sees the old one or the new one, whole."""
    replace_bytes(path, (manifest.model_dump_json(indent=1) + "\n").encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a small file as one step."""
    with replacing(path) as file:
        file.write(content)
