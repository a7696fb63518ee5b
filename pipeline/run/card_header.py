"""The YAML header of a dataset card, which the Hugging Face hub and `datasets` read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from pipeline.manifest import FileEntry

SIDES = ("train", "validation")
DEFAULT_FORM = "messages"
UNKNOWN = "unknown"
_NAMES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigscience-bloom-rail-1.0 bigscience-openrail-m
bsd-2-clause bsd-3-clause bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 epl-2.0 eupl-1.1 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1
lgpl-3.0 llama2 llama3 llama3.1 llama3.2 llama3.3 mit mpl-2.0 ms-pl odbl odc-by openrail other
pddl postgresql unknown unlicense wtfpl zlib
"""
LICENCES = frozenset(_NAMES.split())
"""What the hub knows by these names; another licence is `other`, with its name beside it."""


def render(
    *,
    languages: Sequence[str],
    licence: str | None,
    is_synthetic: bool,
    categories: Sequence[str],
    size: str,
    files: Sequence[FileEntry],
    in_memory: Mapping[str, int],
    schemas: Mapping[str, pa.Schema],
) -> str:
    """The lines between the two `---`: what the data is, its configurations, splits and features.

    Only splits that have files are named: `datasets` loads no other. `in_memory` are the bytes of
    each file as Arrow tables, by its path.
    """
    header: dict[str, Any] = {"language": list(languages), **licence_lines(licence)}
    header["task_categories"] = list(categories)
    header["tags"] = ["instruction-tuning", "synth", *(["synthetic"] if is_synthetic else [])]
    header["size_categories"] = [size]
    forms = [form for form in schemas if any(_is_of(entry, form) for entry in files)]
    if forms:
        header["configs"] = [_config(form, files) for form in forms]
        header["dataset_info"] = [_info(form, schemas[form], files, in_memory) for form in forms]
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True)


def licence_lines(licence: str | None) -> dict[str, str]:
    """A licence as the hub wants it.

    >>> licence_lines("CC-BY-4.0"), licence_lines(None)
    ({'license': 'cc-by-4.0'}, {'license': 'unknown'})
    >>> licence_lines("House rules")
    {'license': 'other', 'license_name': 'house-rules'}
    """
    if licence is None or not licence.strip():
        return {"license": UNKNOWN}
    name = "-".join(licence.lower().split())
    return {"license": name} if name in LICENCES else {"license": "other", "license_name": name}


def _is_of(entry: FileEntry, form: str, side: str = "") -> bool:
    return entry.path.startswith(f"data/{form}/{side}")


def _sides(form: str, files: Sequence[FileEntry]) -> list[str]:
    return [side for side in SIDES if any(_is_of(entry, form, f"{side}-") for entry in files)]


def _config(form: str, files: Sequence[FileEntry]) -> dict[str, Any]:
    found: dict[str, Any] = {"config_name": form}
    if form == DEFAULT_FORM:
        found["default"] = True
    found["data_files"] = [
        {"split": side, "path": f"{form}/{side}-*.parquet"} for side in _sides(form, files)
    ]
    return found


def _info(
    form: str, schema: pa.Schema, files: Sequence[FileEntry], in_memory: Mapping[str, int]
) -> dict[str, Any]:
    """What `datasets` checks as it loads: features, and the examples of each split."""
    splits = []
    for side in _sides(form, files):
        entries = [entry for entry in files if _is_of(entry, form, f"{side}-")]
        n_bytes = sum(in_memory[entry.path] for entry in entries)
        rows = sum(entry.rows for entry in entries)
        splits.append({"name": side, "num_bytes": n_bytes, "num_examples": rows})
    return {
        "config_name": form,
        "features": [_feature(field) for field in schema],
        "splits": splits,
        "download_size": sum(entry.bytes for entry in files if _is_of(entry, form)),
        "dataset_size": sum(split["num_bytes"] for split in splits),
    }


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column as `datasets` writes it: a type by its name, a list of structs by its fields."""
    if pa.types.is_list(field.type):
        return {"name": field.name, "list": [_feature(one) for one in field.type.value_type]}
    return {"name": field.name, "dtype": str(field.type)}
