"""The program `motet` in a folder and a runtime folder of its own."""

import pickle
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_program import Program

from motet.testing import Gate


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


@pytest.fixture
def gate():
    with Gate() as gate:
        yield gate


@pytest.fixture
def app(program, gate, request):
    """The program, in a folder with the app of the test's file, which a gate can hold."""
    program.write("app.py", request.module.APP)
    (program.folder / "gate.pickle").write_bytes(pickle.dumps(gate))
    return program


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool
