"""How an adapter names the base that it belongs to, so that it is found on another machine."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import manifest
from pipeline.run.roles import Model

CONFIG = "adapter_config.json"


def name_base(adapter: Path, base: Model | None) -> None:
    """Name a base of the hub by its name and commit, not by this machine's cache.

    A base in a folder, or one that was made for the run, stays named by where it is. Nothing is
    done where a whole model was trained.
    """
    path = adapter / CONFIG
    if base is None or not base.uri.hub or not path.is_file():
        return
    config = json.loads(path.read_bytes())
    config |= {"base_model_name_or_path": base.uri.hub, "revision": base.uri.revision or None}
    manifest.replace_bytes(path, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
