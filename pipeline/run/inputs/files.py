"""Which files an `--input` stands for, and what is said beside them.

A file, a folder of shards, a folder that the `datasets` package saved (`state.json` and Arrow
shards), or several of those, one a split (`dataset_dict.json`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.errors import InputError
from pipeline.stages.read_input import Config

Format = Literal["parquet", "arrow", "jsonl", "json", "csv"]
SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
}
PACKED = (".gz", ".zst")
TEXT: tuple[Format, ...] = ("jsonl", "json", "csv")
KNOWN = ".parquet, .jsonl, .json or .csv (the last three also as .gz or .zst)"
SIDE_FILE_BYTES = 2**20
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file: its place, its format, and ".gz" or ".zst" where it is packed."""

    path: Path
    format: Format
    packed: str = ""


def input_files(path: Path, config: Config) -> list[InputFile]:
    """The files that `path` stands for, in the order of their rows. Raises `InputError`."""
    if path.is_file():
        found = input_file(path)
        if found is None:
            raise InputError(f"--input {path}: a file is {KNOWN}; a folder holds such files.")
        return [found]
    if (path / "dataset_dict.json").is_file():
        return _saved(path / _split_of(path, config.split))
    if (path / "state.json").is_file():
        return _saved(path)
    shards = [
        found for one in sorted(path.iterdir()) if one.is_file() and (found := input_file(one))
    ]
    if config.split is not None:
        begins = re.compile(re.escape(config.split) + r"(?![A-Za-z0-9])")
        shards = [shard for shard in shards if begins.match(shard.path.name)]
    if not shards:
        of = f" of split {config.split!r}" if config.split else ""
        raise InputError(f"--input {path}: there is no file{of} in it that is {KNOWN}.")
    if len(formats := {shard.format for shard in shards}) > 1:
        raise InputError(f"--input {path} holds {' and '.join(sorted(formats))}: name one file.")
    return shards


def input_file(path: Path) -> InputFile | None:
    """The file with its format, by its name; null where that is none we read."""
    packed = path.suffix if path.suffix in PACKED else ""
    kind = SUFFIXES.get(Path(path.stem).suffix if packed else path.suffix)
    if kind is None or (packed and kind not in TEXT):
        return None
    return InputFile(path, kind, packed)


def licence_beside(path: Path) -> str | None:
    """The licence that a data set's card or `dataset_info.json` names; null where none does."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (info := _json(folder / "dataset_info.json")) is not None:
        named = info.get("license")
        if isinstance(named, str) and named.strip():
            return named.strip()
    return _card_licence(folder / "README.md")


def _card_licence(card: Path) -> str | None:
    """The `license` of a dataset card's YAML header."""
    if not card.is_file():
        return None
    with card.open("rb") as file:
        text = file.read(SIDE_FILE_BYTES).decode(errors="replace")
    header = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", text, re.DOTALL)
    line = re.search(r"^licen[sc]e:(.*(?:\n[ -].*)*)", header[1] if header else "", re.MULTILINE)
    if line is None or "&" in line[1] or "*" in line[1]:
        return None
    try:
        named = yaml.safe_load(line[1])
    except yaml.YAMLError:
        return None
    names = named if isinstance(named, list) else [named]
    return ", ".join(name for name in names if isinstance(name, str)) or None


def fingerprint(path: Path, files: list[InputFile], licence: str | None) -> str:
    """What stands for the content: of one file its SHA-256, else one over names and digests."""
    digests = [(file.path, _sha256(file.path)) for file in files]
    if len(digests) == 1 and licence is None:
        return digests[0][1]
    lines = [
        f"{digest} {each.relative_to(path) if path.is_dir() else ''}" for each, digest in digests
    ]
    return hashlib.sha256("\n".join([*lines, licence or ""]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split_of(path: Path, split: str | None) -> str:
    found = (_json(path / "dataset_dict.json") or {}).get("splits")
    splits = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
    if split is None and len(splits) == 1:
        split = splits[0]
    if split is None or split not in splits:
        said = f"has no split {split!r}" if split else "has several splits"
        raise InputError(
            f"--input {path} {said}: name one with  --set import.split=NAME  "
            f"of {', '.join(splits[:20]) or 'none'}."
        )
    return _own(split, path)


def _saved(folder: Path) -> list[InputFile]:
    """The Arrow shards that a saved data set lists. Their names may not lead out of it."""
    state = _json(folder / "state.json") or {}
    listed = state.get("_data_files")
    names = [one.get("filename") for one in listed or () if isinstance(one, dict)]
    if not names or not isinstance(listed, list):
        raise InputError(f"--input {folder}: its state.json lists no data files.")
    if state.get("_indices_files"):
        raise InputError(f"--input {folder} selects rows by an index: save it flattened.")
    files = [folder / _own(name, folder) for name in names]
    for file in files:
        if not file.is_file():
            raise InputError(
                f"--input {folder}: {file.name}, which its state.json lists, is missing."
            )
    return [InputFile(file, "arrow") for file in files]


def _own(name: object, folder: Path) -> str:
    if not isinstance(name, str) or _PLAIN.fullmatch(name) is None:
        raise InputError(f"--input {folder}: {str(name)[:60]!r} is no name of a file below it.")
    return name


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(SIDE_FILE_BYTES + 1)
    try:
        tree = json.loads(text) if len(text) <= SIDE_FILE_BYTES else None
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: not a JSON object of at most {SIDE_FILE_BYTES} bytes.")
    return tree
