"""Put a finished run's data set on the Hugging Face hub: one commit, what is there and no more.

Nothing calls this but the command `synth push`: no run puts anything anywhere by itself. The run is
recounted first. The token is that of HF_TOKEN, and goes to the hub that HF_ENDPOINT names (as
`huggingface_hub` reads it) and nowhere else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline import redact, yaml_text
from pipeline.counted import counted
from pipeline.errors import DamagedError, HubError, InputError, InterruptedRunError, RecipeError
from pipeline.extras import pip_line
from pipeline.inspect import Run, open_run
from pipeline.schema import DROP_COLUMNS
from pipeline.teacher.blanking import PURGED
from pipeline.terminal import shorten
from pipeline.verify import recount
from pipeline.version import VERSION

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "data/README.md"
TOKEN = "HF_TOKEN"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
LONGEST_NAME = 96
FORMS = ("messages/", "alpaca/", "completion/")
"""The folders of the repository that are the run's own: what is in them and not in the run goes."""
PASSING = frozenset({408, 409, 412, 423, 425, 429})
"""Answers that another try may not get; so may one from 500 on."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be put on the hub: the files of `data/`, by their paths there, and what to say."""

    run: Run
    files: dict[str, Path]
    notes: list[str]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def pack(path: str | Path) -> Parcel:
    """Recount a run and list what would be put on the hub.

    Raises `InputError` for a run that is not finished, has no data set, or holds rows that were
    purged from a run which it came from, and `DamagedError` where anything but its card is not what
    the run wrote.
    """
    run = open_run(path)
    if (run.path / "purge" / "plan.json").is_file():
        raise DamagedError(f"{path}: a purge was cut off:  synth purge {path}  goes on.")
    if run.manifest.status != "finished":
        raise InputError(f"{path} is not finished ({run.manifest.status}): finish it first.")
    if not (run.path / CARD).is_file():
        raise InputError(f"{path} has no data/: its recipe has no 'export'. Nothing to push.")
    if not run.manifest.data:
        raise InputError(f"{path} kept no row: there is nothing to push.")
    if (run.path / CARD).is_symlink():
        raise InputError(f"{path}/{CARD} is a symbolic link: put the card itself there.")
    findings = recount(path).findings
    others = [finding for finding in findings if not finding.startswith(f"{CARD}: ")]
    if others:
        listed = "\n".join(f"- {finding}" for finding in others)
        raise DamagedError(f"{path} is damaged, and nothing was sent:\n{listed}")
    _check_purged_before(run)
    notes = []
    if findings:
        _check_own_card(run)
        notes.append(f"{CARD} was changed by hand and goes as it is.")
    purged = sum(s.dropped_by_reason.get(PURGED, 0) for s in run.stage_manifests)
    if purged:
        notes.append(
            f"{counted(purged, 'row was', 'rows were')} purged from this run: an earlier commit of "
            "the repository may still hold them, and keeps them until you remove it there."
        )
    files = {"README.md": run.path / CARD}
    files |= {e.path.removeprefix("data/"): run.path / e.path for e in run.manifest.data}
    return Parcel(run, files, notes)


def _check_own_card(run: Run) -> None:
    """Raise `RecipeError` where a card that was changed by hand names other rows than there are."""
    text = (run.path / CARD).read_text(encoding="utf-8", errors="replace")
    found = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    header = yaml_text.load(found[1], where=f"{run.path / CARD}") if found else None
    if not isinstance(header, dict):
        raise RecipeError(f"{run.path / CARD} has no header between two lines of ---: mend it.")
    there: dict[tuple[str, str], int] = {}
    for entry in run.manifest.data:
        _, form, name = entry.path.split("/")
        key = (form, name.partition("-")[0])
        there[key] = there.get(key, 0) + entry.rows
    named = dict(_named_splits(header))
    wrong = [key for key in sorted(named) if there.get(key) != named[key]]
    if wrong:
        form, side = wrong[0]
        raise RecipeError(
            f"{run.path / CARD} says that {form} has {named[wrong[0]]} rows in {side}, and "
            f"there are {there.get(wrong[0], 0)}: mend the card, or take the lines under "
            "dataset_info out of it."
        )


def _named_splits(header: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], object]]:
    infos = header.get("dataset_info")
    for info in infos if isinstance(infos, list) else [infos]:
        if not isinstance(info, dict):
            continue
        for split in info.get("splits") or ():
            if isinstance(split, dict) and "num_examples" in split:
                key = (str(info.get("config_name")), str(split.get("name")))
                yield key, split["num_examples"]


def _check_purged_before(run: Run) -> None:
    """Raise `InputError` where the data is older than a purge of a run that it came from."""
    exported = [state for state in run.stage_manifests if state.parts][-1]
    names = [n for n in ("row_id", "root_id", "parent_id") if n in exported.columns]
    ids: set[str] = set()
    for older in run.ancestors[1:]:
        purged = _purged(older)
        if not purged:
            continue
        if not ids:
            rows = run.scan(exported.name, "kept").select(names).collect()
            ids = {one for name in names for one in rows[name].drop_nulls()}
        if left := sorted(purged & ids):
            raise InputError(
                f"{run.path} is older than a purge of {older.path}: it still has "
                f"{', '.join(left[:5])}{' and others' if len(left) > 5 else ''}, or rows made of "
                f"it. Purge them here too (synth purge {run.path} --row ID), then push."
            )


def _purged(run: Run) -> set[str]:
    """The ids of the rows that were taken out of a run."""
    found: set[str] = set()
    for state in run.stage_manifests:
        if state.dropped_by_reason.get(PURGED):
            rows = run.scan(state.name, "dropped").filter(pl.col(DROP_COLUMNS[0]) == PURGED)
            found |= set(rows.select("row_id").collect()["row_id"])
    return found


def push(parcel: Parcel, repository: str, *, is_public: bool = False) -> str:
    """Put the files into a dataset repository as one commit; gives the commit's address.

    A repository that is not there is made, private unless `is_public`. Raises `RecipeError` for a
    name, a token or a card that has to be mended, `HubError` where the hub refuses for good and
    `InterruptedRunError` where another try may do.
    """
    check_name(repository)
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise RecipeError(
            f"{TOKEN} is not set: make a token that may write (https://huggingface.co/settings/"
            f"tokens) and put it into the environment variable {TOKEN}."
        )
    redact.remember(token)
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise RecipeError(f"{TOKEN} holds characters that no token has: copy the token anew.")
    endpoint = os.environ.get("HF_ENDPOINT", "")
    if endpoint and not endpoint.startswith(("https://", "http://")):
        raise RecipeError(f"HF_ENDPOINT is {shorten(endpoint, 100)!r}: it begins with https://.")
    try:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise RecipeError(
            f"synth push takes the package huggingface_hub: {pip_line('hub')}."
        ) from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi(token=token, library_name="synth", library_version=VERSION)
    with _translated(repository):
        head = _repository(api, repository, is_public=is_public)
        there = api.list_repo_files(repository, repo_type="dataset", revision=head)
        gone = [n for n in there if n.startswith(FORMS) and n not in parcel.files]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, path) for name, path in sorted(parcel.files.items())
        ]
        operations += [CommitOperationDelete(name) for name in gone]
        name = parcel.run.path.resolve().name
        done = api.create_commit(
            repository,
            operations,
            commit_message=f"Data of the run {shorten(name, 60)}, by synth {VERSION}",
            commit_description=f"Digest of the run: {parcel.run.manifest.digest}",
            repo_type="dataset",
            parent_commit=head,
        )
        return str(done.commit_url)


def check_name(repository: str) -> None:
    """Raise `RecipeError` where a text can be no repository of an organisation or a user."""
    if NAME.fullmatch(repository) is None or ".." in repository or "--" in repository:
        raise RecipeError(
            f"{shorten(repository, 100)} can be no repository: name ORG/NAME, letters, digits, "
            "-, _ and . in both."
        )
    if max(map(len, repository.split("/"))) > LONGEST_NAME:
        raise RecipeError(f"{shorten(repository, 100)}: names have {LONGEST_NAME} signs at most.")


def _repository(api: HfApi, repository: str, *, is_public: bool) -> str | None:
    """The newest commit of the repository, which is made where it is not there."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.dataset_info(repository)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise
        api.create_repo(repository, repo_type="dataset", private=not is_public, exist_ok=True)
        found = api.dataset_info(repository)
    if found.private and is_public:
        raise RecipeError(
            f"{repository} is there and private, and a push does not change who may read it: leave "
            "--public out, or change that on the hub."
        )
    if not found.private and not is_public:
        raise RecipeError(
            f"{repository} is there and everybody can read it: take --public if they may read "
            "these rows, or name another repository."
        )
    return found.sha


@contextmanager
def _translated(repository: str) -> Iterator[None]:
    """What the hub and its client raise, as errors that say what to do."""
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, its transport's
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise RecipeError(
            "HF_HUB_OFFLINE forbids asking the hub: nothing was sent. Unset it to push."
        ) from error
    except HfHubHTTPError as error:
        raise _of_answer(error, repository) from error
    except HTTPError as error:
        raise _not_reached(repository, error) from error
    except ValueError as error:
        raise RecipeError(f"the hub takes {CARD} not as it is: {_short(error)}") from error
    except (RuntimeError, OSError) as error:  # the client's own, and its storage's
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _of_answer(error.__cause__, repository) from error
        raise _not_reached(repository, error.__cause__ or error) from error


def _of_answer(error: Any, repository: str) -> RecipeError | HubError | InterruptedRunError:  # noqa: ANN401 - the client's
    """What an answer of the hub means: it refuses for good, or another try may do."""
    status = error.response.status_code
    said = _short(error.server_message or error)
    if status >= 500 or status in PASSING:
        return InterruptedRunError(
            f"the hub does not take the rows now ({status}: {said}). Nothing of this commit is "
            "there; start the same command again."
        )
    if status == 400:
        return RecipeError(f"the hub does not take what was sent (400): {said}")
    if status == 401:
        return HubError(
            f"the hub does not know the token in {TOKEN} (401): make one that is valid, at "
            "https://huggingface.co/settings/tokens."
        )
    if status in (403, 404):
        return HubError(
            f"the token in {TOKEN} may not write to {repository} ({status}: {said}): check the "
            "name, and that the token may write there."
        )
    return HubError(f"the hub refuses {repository} ({status}): {said}")


def _not_reached(repository: str, error: BaseException) -> InterruptedRunError:
    return InterruptedRunError(
        f"{repository} cannot be reached ({_short(error)}). Start the same command again."
    )


def _short(error: object) -> str:
    """What was said, on one line."""
    return shorten(" ".join(str(error).split()) or type(error).__name__, 300)
