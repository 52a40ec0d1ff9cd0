"""`motet serve --reload`: only services whose code changed are restarted, HTTP answers all the while, faults change nothing."""

import os
import signal
import threading

import pytest
from cli_program import Processes

from motet.testing import PATIENCE

HEAVY = """
import os
import motet

class Heavy(motet.Service):
    @motet.endpoint
    def pid(self) -> int:
        return os.getpid()
"""

APP = """
import os
import motet
from heavy import Heavy

class Front(motet.Service):
    def __init__(self, heavy: Heavy) -> None:
        self.heavy = heavy

    @motet.endpoint
    async def version(self) -> int:
        return 1

    @motet.endpoint
    async def pids(self) -> list[int]:
        return [os.getpid(), await self.heavy.pid()]

app = Front.bind(Heavy.bind())
"""


class Traffic:
    """Asks an endpoint again and again, each time on a new connection, and keeps the statuses."""

    def __init__(self, server):
        self._server = server
        self._stop = threading.Event()
        self.statuses = []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            self.statuses.append(self._server.post("/pids").status_code)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def server(program):
    program.write("heavy.py", HEAVY)
    program.write("app.py", APP)
    return program.serve("app.py:app", "--reload").until_ready()


def test_an_unchanged_service_keeps_its_process(program, server):
    front, heavy = server.post("/pids").json()
    with Traffic(server) as traffic:
        program.write("app.py", APP.replace("return 1", "return 2"))
        server.until("reloaded: Front restarted")
        assert server.post("/version").json() == 2
        new_front, same_heavy = server.post("/pids").json()
        assert (new_front != front, same_heavy) == (True, heavy)

        program.write("heavy.py", HEAVY.replace("return os.getpid()", "return -os.getpid()"))
        server.until("reloaded: Heavy restarted")
        same_front, new_heavy = server.post("/pids").json()
        assert (same_front, new_heavy < 0, new_heavy != -heavy) == (new_front, True, True)
    assert set(traffic.statuses) == {200}


def test_a_new_endpoint_is_served_and_an_old_one_is_gone(program, server):
    program.write("app.py", APP.replace("def version", "def edition"))
    server.until("reloaded: Front restarted")
    assert server.post("/edition").json() == 1
    assert server.post("/version").status_code == 404


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("self.heavy = heavy + ", "SyntaxError"),
        ("raise RuntimeError('no luck')", "Front could not start: RuntimeError: no luck"),
    ],
)
def test_a_fault_leaves_the_old_version_running(program, server, fault, said):
    before = server.post("/pids").json()
    with Traffic(server) as traffic:
        program.write("app.py", APP.replace("self.heavy = heavy", fault))
        server.until("not reloaded: the old version goes on serving")
        assert said in server.output
        assert server.post("/pids").json() == before
        program.write("app.py", APP.replace("return 1", "return 3"))
        server.until("reloaded: Front restarted")
        assert server.post("/version").json() == 3
    assert set(traffic.statuses) == {200}


def test_an_asset_that_is_missing_leaves_the_old_version_running(program, server):
    """Nothing is replaced before all that any service wants is there."""
    pids = server.post("/pids").json()
    wants = 'class Front(motet.Service):\n    config = motet.Config(assets=motet.Assets(data=["words.txt"]))\n'
    program.write("app.py", APP.replace("class Front(motet.Service):", wants).replace("return 1", "return 2"))
    server.until("the asset words.txt doesn't exist")
    assert (server.post("/pids").json(), server.post("/version").json()) == (pids, 1)
    program.write("words.txt", "word")
    program.write("app.py", APP.replace("class Front(motet.Service):", wants).replace("return 1", "return 3"))
    server.until("reloaded: Front restarted")
    assert server.post("/version").json() == 3


def test_a_replica_that_dies_during_a_reload_that_fails_is_replaced(program, server):
    front, _ = server.post("/pids").json()
    go = program.folder / "go"
    os.mkfifo(go)
    program.write("app.py", APP.replace("self.heavy = heavy", "open('go').read(); raise RuntimeError('no luck')"))
    dying = Processes([front])
    with go.open("w"):  # opens once the new version is being constructed
        os.kill(front, signal.SIGKILL)
        dying.until_ended(PATIENCE)
    server.until("not reloaded")
    assert server.post("/version").json() == 1


def test_a_failing_service_takes_no_other_to_its_new_version(program, server):
    before = server.post("/pids").json()
    program.write("heavy.py", HEAVY.replace("return os.getpid()", "return -os.getpid()"))
    server.until("reloaded: Heavy restarted")
    middle = server.post("/pids").json()
    both = APP.replace("from heavy import Heavy", HEAVY).replace("self.heavy = heavy", "raise RuntimeError('no luck')")
    program.write("app.py", both)
    server.until("not reloaded")
    assert server.post("/pids").json() == middle != before


def test_a_replica_that_dies_later_comes_back_with_the_newest_code(program, server):
    program.write("app.py", APP.replace("return 1", "return 2"))
    server.until("reloaded: Front restarted")
    _, heavy = server.post("/pids").json()
    os.kill(heavy, signal.SIGKILL)
    server.until("Heavy#2 ready")
    assert server.post("/pids").json()[1] != heavy
    assert server.post("/version").json() == 2


def test_a_file_that_is_new_and_faulty_is_watched(program, server):
    program.write("inner/part.py", "def broken(:\n")
    program.write("app.py", "from inner import part\n" + APP.replace("return 1", "return part.NUMBER"))
    server.until("not reloaded")
    program.write("inner/part.py", "NUMBER = 5\n")
    server.until("reloaded: Front restarted")
    assert server.post("/version").json() == 5
