"""Run the teacher: `python -m tests.teacher_server --history PATH` in the repository's root.

Prints one JSON line when it is ready. Ends on SIGTERM, at the end of its stdin, or by itself.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import ssl
import sys
import traceback
from pathlib import Path
from typing import Any

from .control import Control
from .faults import FAULTS
from .history import History
from .listeners import Listeners
from .plan import PlanError, load_plan
from .teacher import Teacher


class ListFaults(argparse.Action):
    """Print row, name, stage and parameters of every fault."""

    def __call__(self, *_: object) -> None:
        """Print and leave."""
        for fault in FAULTS.values():
            params = ascii(json.dumps(fault.params))[1:-1]
            sys.stdout.write(f"{fault.row:2} {fault.stage:6} {fault.name:22} {params}\n")
        sys.exit()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests.teacher_server", description=__doc__)
    parser.add_argument("--history", type=Path, required=True, help="JSONL to append to")
    parser.add_argument("--plan", default="[]", help="a file, or the JSON itself")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=600)
    parser.add_argument("--keep-bodies", action="store_true", help="request bodies in the history")
    parser.add_argument("--no-stdin", action="store_true", help="do not end with stdin")
    parser.add_argument("--tls-cert", type=Path, help="PEM with certificate and key: serve HTTPS")
    parser.add_argument("--list-faults", action=ListFaults, nargs=0)
    return parser.parse_args()


async def serve(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; returns how many errors the server itself made."""
    loop = asyncio.get_running_loop()
    text: str = arguments.plan
    plan = load_plan(text if text.lstrip()[:1] in "[{" else Path(text).read_text(encoding="utf-8"))
    history = History(arguments.history, loop)
    teacher = Teacher(history, plan, arguments.seed, arguments.keep_bodies)
    control = Control(teacher)
    tls = None
    if arguments.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.tls_cert)
    listeners = Listeners(teacher, control, tls)
    control.close_listener, control.open_listener = listeners.refuse, listeners.accept
    teacher.close_listener = listeners.refuse
    await listeners.start(arguments.port)
    errors = 0

    def note_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal errors
        errors += 1
        trace = "".join(traceback.format_exception(context.get("exception")))
        history.event("error", message=context["message"], trace=trace)
        sys.stderr.write(trace)

    loop.set_exception_handler(note_error)
    history.event("start", pid=os.getpid(), seed=arguments.seed)
    history.flush()

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.call_later(arguments.max_seconds, stop.set)
    if not arguments.no_stdin:
        stdin = sys.stdin.fileno()

        def read_stdin() -> None:
            if not os.read(stdin, 4096):
                loop.remove_reader(stdin)
                stop.set()

        loop.add_reader(stdin, read_stdin)
    scheme = "https" if tls else "http"
    ready = {
        "url": f"{scheme}://127.0.0.1:{listeners.ports['main']}/v1",
        "control": f"http://127.0.0.1:{listeners.ports['control']}",
        "other": teacher.other_url,
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    await stop.wait()
    await listeners.close()
    history.event("stop")
    history.close()
    return errors


def main() -> int:
    """Run; exit code 2 means that the plan is wrong, 70 that the history cannot be trusted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    try:
        errors = asyncio.run(serve(parse_arguments()))
    except PlanError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 70 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
