"""Every fault by name."""

from .fault_kinds import Fault

FAULTS: dict[str, Fault] = {}
