"""Models of the Hugging Face hub: out of this machine's cache, else fetched, always at one commit.

What the cache holds is taken without asking anybody, so that the same command finds the same
weights; `hf download NAME` renews it. Only weights in safetensors and what describes them are
fetched: no code, and nothing that has to be unpickled.
"""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline import redact
from pipeline.errors import InterruptedRunError, RecipeError, StorageError
from pipeline.train.batching import first_line

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
UNWANTED = ("consolidated*", "onnx/*", "openvino/*", "original/*")
"""The same weights once more, for other programs."""
INDEX = "model.safetensors.index.json"


def is_wanted(name: str) -> bool:
    """Whether a file of a model, by its path below it, is one that is read.

    >>> is_wanted("1_Pooling/config.json"), is_wanted("modeling.py"), is_wanted("onnx/config.json")
    (True, False, False)
    """
    return any(fnmatchcase(name, one) for one in WANTED) and not any(
        fnmatchcase(name, one) for one in UNWANTED
    )


def cached(name: str, revision: str) -> Path | None:
    """The snapshot of a model in this machine's cache, a folder called after its commit.

    Null where it is not there, or not whole. Raises `RecipeError` for what can be no name there.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        folder = _snapshot(name, revision, is_local=True)
    except HFValidationError as error:
        raise RecipeError(f"{name} cannot be a model of the hub: {first_line(error)}.") from error
    except OSError:  # not there, or not all of it
        return None
    return folder if _is_whole(folder) else None


def _snapshot(name: str, revision: str, *, is_local: bool) -> Path:
    """The folder of a snapshot, which may lack files where it is `is_local`, of the cache alone."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            name,
            revision=revision or None,
            local_files_only=is_local,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
        )
    )


def fetched(name: str, revision: str, *, called: str) -> Path:
    """The snapshot of a model, fetched where the cache does not hold it.

    `called` is what it is called where somebody named it, for messages.

    Raises `RecipeError` where there is no such model, or nobody may be asked for it;
    `InterruptedRunError` where the hub cannot be reached.
    """
    if (found := cached(name, revision)) is not None:
        return found
    from huggingface_hub import constants
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, its transport's
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        XetDownloadError,
    )

    redact.remember(os.environ.get("HF_TOKEN", ""))
    at = f" at {revision}" if revision else ""
    named = f"{called}: there is no such folder here, and the model {name}{at}"
    by_hand = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    if constants.is_offline_mode():
        raise RecipeError(
            f"{named} is not whole in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE "
            f"forbids asking the hub: run  {by_hand}  where there is a network, or name a folder."
        )
    try:
        folder = _snapshot(name, revision, is_local=False)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise RecipeError(
            f"{named} is not on the hub, or not for everybody: check its name, or set HF_TOKEN to "
            f"a token that may read it ({first_line(error)})."
        ) from error
    except (LocalEntryNotFoundError, HTTPError, XetDownloadError) as error:
        raise InterruptedRunError(
            f"{named} cannot be fetched: the hub cannot be reached ({first_line(error)}). Start "
            f"the same command again once it can, run  {by_hand}  before, or name a folder."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{named} cannot be written to the cache {constants.HF_HUB_CACHE}: "
            f"{error.strerror or error}. Make room, or name another place as HF_HOME."
        ) from error
    if not _is_whole(folder):
        raise RecipeError(
            f"{named} has no config.json with whole weights in safetensors: others are not read. "
            "Save it anew as a folder, or name another model."
        )
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether there is a model, and all of its weights where an index lists them."""
    if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        return False
    if (folder / INDEX).is_file():
        try:
            listed = json.loads((folder / INDEX).read_bytes())["weight_map"].values()
            return all((folder / str(name)).is_file() for name in listed)
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
    return any(folder.rglob("*.safetensors"))
