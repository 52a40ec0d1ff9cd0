"""Runs an installer, and ends it with all that it has started when the process that wanted it dies.

It is run by path, without Motet: `python -I -S warden.py PARENT COMMAND...`. Its process group is its own.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

NOT_FOUND = 127  # as shells have it


def _end_all(_: int, __: object) -> None:
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Run the command; return its exit code."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, _end_all)
    linux = runpy.run_path(str(Path(__file__).parent.parent / "linux.py"))
    linux["die_with_parent"](parent, by=signal.SIGTERM)
    try:
        code = subprocess.call(command, stdin=subprocess.DEVNULL)  # noqa: S603  # an installer, named by the parent
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)  # noqa: T201  # read by who runs this
        return NOT_FOUND
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
