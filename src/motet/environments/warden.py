"""Runs an installer, and ends it with all that it has started when the process that wanted it dies, or by SIGTERM.

It is run by path, without Motet: `python -I -S warden.py PARENT COMMAND...`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

NOT_FOUND = 127  # as shells have it


def main() -> int:
    """Run the command; return its exit code."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    linux = runpy.run_path(str(Path(__file__).parent.parent / "linux.py"))
    linux["adopt_orphans"]()
    linux["die_with_parent"](parent, by=signal.SIGTERM)
    # One thread, so what is to be done between fork and exec is safe. It ends the installer if even this process is killed.
    with_us = functools.partial(linux["die_with_parent"], os.getpid())
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=with_us)  # noqa: S603, PLW1509
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)  # noqa: T201  # read by who runs this
        return NOT_FOUND

    def end_group(_: int, __: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end_group)
    code = process.wait()
    if code >= 0:
        return code
    end_group(0, None)
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            os.waitpid(-process.pid, 0)
    return 128 - code


if __name__ == "__main__":
    sys.exit(main())
