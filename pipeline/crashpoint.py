"""Places at which a test can end the process as `kill -9` would; anywhere else they do nothing.

`SYNTH_CRASH_AT=NAME` or `NAME:N` kills the process as it comes to that place (for the N-th time).
The variable is read once, as this module is imported; without it `crashpoint` has no body.
"""

from __future__ import annotations

import itertools
import os
import signal

NAMES = (
    "before_commit",  # of journal records: they are written and not yet durable
    "after_commit",  # durable, and nobody has been told
    "shard_staged",  # a shard is whole in .staging
    "part_unlisted",  # both shards of a part are in their places, stage.json does not say so
    "part_listed",
    "taken_back",  # stage.json lists nothing any more, the shards are still there
    "file_written",  # a shard, a manifest or an input is durable, and not in its place
    "file_renamed",  # it is in its place, whose name is not yet durable
    "before_seal",  # all parts are listed, the stage is not said to be whole
    "sealed",
    "purge_planned",  # all new files of a purge are in purge/, none is in its place
    "purge_blanked",  # replies are out of the journal
    "purge_moved",  # one of the new files is in its place
)
_WANTED = os.environ.get("SYNTH_CRASH_AT")

if _WANTED is None:

    def crashpoint(name: str) -> None:
        """Nothing."""

else:
    _name, _, _nth = _WANTED.partition(":")
    _left = itertools.count(int(_nth or 1) - 1, -1)
    if _name not in NAMES:
        raise ValueError(f"SYNTH_CRASH_AT={_WANTED}: there is no such place; there are {NAMES}")

    def crashpoint(name: str) -> None:
        """Die here, if this is the place."""
        if name == _name and next(_left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
