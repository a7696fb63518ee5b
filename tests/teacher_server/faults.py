"""Every fault by name.

`python -m tests.teacher_server --list-faults` prints the table.
"""

from .bad_bytes import BYTES_FAULTS
from .bad_json import JSON_FAULTS
from .bad_text import TEXT_FAULTS
from .bad_wire import WIRE_FAULTS
from .fault_kinds import Fault
from .refusals import REFUSALS

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in sorted(
        [*REFUSALS, *TEXT_FAULTS, *JSON_FAULTS, *BYTES_FAULTS, *WIRE_FAULTS],
        key=lambda fault: (fault.row, fault.name),
    )
}
