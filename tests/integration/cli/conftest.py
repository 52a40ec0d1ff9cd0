"""The program `motet` in a folder and a runtime folder of its own."""

import shutil
import tempfile
from pathlib import Path

import pytest
from cli_program import Program


@pytest.fixture
def program(tmp_path):
    """The program, in an empty folder; servers that still run are killed after the test."""
    runtime = Path(tempfile.mkdtemp(prefix="m-"))  # short: the path of a socket has room for 107 bytes
    program = Program(tmp_path, runtime)
    try:
        yield program
    finally:
        program.close()
        shutil.rmtree(runtime, ignore_errors=True)
