"""`motet serve` as a whole: what it prints works, it stops as asked, and what is killed is replaced."""

import shlex
import signal
import subprocess

import httpx
import pytest

APP = """
import os
import pathlib
import pickle
from collections.abc import Iterator

import motet
from motet.testing import Gate

class Worker(motet.Service):
    config = motet.Config(idempotent=True)

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @motet.endpoint
    async def hold(self) -> str:
        self.gate.reached()
        await self.gate.wait()
        return "held"

    @motet.endpoint
    def pid(self) -> int:
        return os.getpid()

class Front(motet.Service):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    @motet.endpoint
    async def greet(self, name: str) -> str:
        return f"hello {name}"

    @motet.endpoint
    async def hold(self) -> str:
        return await self.worker.hold()

    @motet.endpoint
    async def worker_pid(self) -> int:
        return await self.worker.pid()

    @motet.endpoint
    def count(self, to: int) -> Iterator[int]:
        yield from range(min(to, 3))
        if to > 3:
            raise OverflowError("three is enough")

    @motet.endpoint
    def size(self, data: bytes) -> int:
        return len(data)

app = Front.bind(Worker.bind(pickle.loads(pathlib.Path("gate.pickle").read_bytes())))
"""


class TestServing:
    @pytest.mark.parametrize("engine", ["local", "inline"])
    def test_the_curl_line_that_it_prints_works(self, app, engine):
        server = app.serve("app.py:app", "--engine", engine).until_ready()
        line = next(line for line in server.lines if line.startswith("  curl"))
        assert line.endswith("""/greet -H 'content-type: application/json' -d '{"name": "..."}'""")
        done = subprocess.run(["curl", "-s", *shlex.split(line)[1:]], capture_output=True, text=True, check=True)
        assert done.stdout == '"hello ..."'
        assert httpx.get(server.url + "/docs", trust_env=False).status_code == 200
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert app.leftovers() == []

    def test_it_shows_each_service_as_it_comes_up(self, app):
        server = app.serve("app.py:app").until_ready()
        assert "Starting 2 services: Worker, Front" in server.output
        assert "Worker#1 ready in" in server.output
        assert "Front#1 ready in" in server.output

    def test_a_route_and_a_key(self, app):
        server = app.serve("app.py:app", "--route", "/front", "--api-key", "one", "--api-key", "two").until_ready()
        assert server.post("/front/greet", {"name": "you"}).status_code == 401
        assert server.post("/front/greet", {"name": "you"}, headers={"authorization": "Bearer two"}).json() == "hello you"
        assert "one" not in server.output.split()
        assert app.run("call", "greet", '{"name": "you"}', "--api-key", "two").stdout == '"hello you"\n'
        assert "instead: --api-key KEY" in app.run("call", "greet", '{"name": "you"}').stderr

    def test_two_at_once_and_the_port_of_the_first(self, app):
        first, second = app.serve("app.py:app").until_ready(), app.serve("app.py:app").until_ready()
        assert first.post("/greet", {"name": "a"}).json() == second.post("/greet", {"name": "a"}).json() == "hello a"
        port = first.url.rpartition(":")[2]
        done = app.run("serve", "app.py:app", "--port", port)
        assert done.returncode == 1
        assert f"found:   motet serve app.py:app (pid {first.process.pid})" in done.stderr
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        assert second.post("/greet", {"name": "b"}).json() == "hello b"


DEBUGGED = """
import motet

class Adder(motet.Service):
    @motet.endpoint
    {define} add(self, number: int) -> int:
        breakpoint()
        return number + 1

app = Adder.bind()
"""


@pytest.mark.parametrize("define", ["async def", "def"])
def test_a_breakpoint_stops_in_the_service_and_ctrl_c_still_ends_the_server(program, pool, define):
    program.write("app.py", DEBUGGED.format(define=define))
    server = program.serve("app.py:app", "--engine", "inline").until_ready()
    answer = pool.submit(server.post, "/add", {"number": 4})
    server.until("-> return number + 1")
    server.type("p number * 100", "number = 7", "continue")
    server.until("400")
    assert answer.result().json() == 8
    server.signal(signal.SIGINT)
    assert server.wait() == 0


class TestStopping:
    @pytest.mark.parametrize("engine", ["local", "inline"])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_running_request_finishes(self, app, gate, pool, engine, number):
        server = app.serve("app.py:app", "--engine", engine).until_ready()
        started = server.descendants()
        answer = pool.submit(server.post, "/hold")
        gate.until_reached_sync()
        server.signal(number)
        assert server.until("stopping").startswith("stopping: 1 call running")
        gate.open()
        assert answer.result().json() == "held"
        assert server.wait() == 0
        started.until_ended(0)
        assert app.leftovers() == []
        with pytest.raises(httpx.ConnectError):
            server.post("/greet", {"name": "you"})

    @pytest.mark.parametrize("engine", ["local", "inline"])
    def test_a_second_signal_ends_at_once(self, app, gate, pool, engine):
        server = app.serve("app.py:app", "--engine", engine).until_ready()
        started = server.descendants()
        answer = pool.submit(server.post, "/hold")
        gate.until_reached_sync()
        server.signal(signal.SIGTERM)
        server.until("stopping: 1 call running")
        server.signal(signal.SIGINT)
        assert server.wait() == 128 + signal.SIGTERM
        assert isinstance(answer.exception(), httpx.HTTPError) or answer.result().is_error
        started.until_ended(5)
        assert app.leftovers() == []

    def test_during_the_start(self, app, gate):
        app.write("slow.py", APP.replace("self.gate = gate", "gate.reached(); gate.wait_sync()"))
        server = app.serve("slow.py:app")
        gate.until_reached_sync()
        started = server.descendants()
        server.signal(signal.SIGINT)
        assert server.wait() == 128 + signal.SIGINT
        started.until_ended(0)
        assert app.leftovers() == []

    def test_while_the_code_is_loaded(self, app, gate):
        app.write("slow.py", APP + "\ngate = pickle.loads(pathlib.Path('gate.pickle').read_bytes())\ngate.reached()\ngate.wait_sync()\n")
        server = app.serve("slow.py:app")
        gate.until_reached_sync()
        started = server.descendants()
        server.signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
        started.until_ended(0)
        assert app.leftovers() == []


class TestKilling:
    def test_a_replica_is_replaced_while_others_answer(self, app):
        server = app.serve("app.py:app").until_ready()
        pids = server.pids()
        assert server.post("/worker_pid").json() == pids["Worker"]
        killed = server.descendants().pids
        subprocess.run(["kill", "-9", str(pids["Worker"])], check=True)
        assert server.post("/greet", {"name": "you"}).json() == "hello you"
        assert server.post("/worker_pid").json() not in killed
        server.until("Worker#1 died (killed by SIGKILL)")
        assert {**server.pids(), "Worker": 0} == {**pids, "Worker": 0}
        ((worker,),) = [node["replicas"] for app_ in app.ps()[0]["apps"] for node in app_["nodes"] if node["name"] == "Worker"]
        assert worker["restarts"] == 1

    def test_the_process_that_replicas_are_forked_from_is_replaced_when_it_is_needed(self, app):
        server = app.serve("app.py:app").until_ready()
        pids = server.pids()
        zygote = server.titled("motet zygote")
        subprocess.run(["kill", "-9", str(zygote), str(pids["Worker"])], check=True)
        assert server.post("/worker_pid").json() != pids["Worker"]
        server.until("Worker#2 ready")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert app.leftovers() == []

    def test_the_gateway_is_replaced_and_the_port_never_refuses(self, app):
        server = app.serve("app.py:app").until_ready()
        before = server.pids()
        subprocess.run(["kill", "-9", str(before["gateway"])], check=True)
        for _ in range(20):
            assert server.post("/greet", {"name": "you"}).json() == "hello you"
        after = server.pids()
        assert after.pop("gateway") != before.pop("gateway")
        assert after == before

    def test_nothing_outlives_the_supervisor(self, app, gate, pool):
        server = app.serve("app.py:app").until_ready()
        answer = pool.submit(server.post, "/hold")
        gate.until_reached_sync()
        started = server.descendants()
        assert len(started.pids) == 5  # stem, zygote, gateway, two replicas
        server.process.kill()
        started.until_ended(5)
        assert isinstance(answer.exception(), httpx.HTTPError) or answer.result().is_error
        assert app.leftovers() == []


class TestCall:
    @pytest.fixture
    def server(self, app):
        return app.serve("app.py:app").until_ready()

    def test_the_only_server_is_found(self, app, server):
        done = app.run("call", "greet", '{"name": "you"}')
        assert (done.stdout, done.returncode) == ('"hello you"\n', 0)

    def test_a_url_and_a_body_from_a_file_or_standard_input(self, app, server):
        app.write("body.json", '{"name": "file"}')
        assert app.run("call", server.url, "greet", "@body.json").stdout == '"hello file"\n'
        assert app.run("call", "/greet", "-", "--url", server.url, input='{"name": "pipe"}').stdout == '"hello pipe"\n'
        app.write("picture.bin", "12345")
        (app.folder / "picture.bin").write_bytes(b"\xff\xd8123")
        assert app.run("call", "size", "@picture.bin").stdout == "5\n"

    def test_a_stream_is_printed_by_items_and_may_end_with_an_error(self, app, server):
        assert app.run("call", "count", '{"to": 2}').stdout == "0\n1\n"
        done = app.run("call", "count", '{"to": 4}')
        assert (done.stdout, done.returncode) == ("0\n1\n2\n", 1)
        assert done.stderr == "error: OverflowError: three is enough\n"

    def test_errors_of_the_server(self, app, server):
        done = app.run("call", "greet", '{"name": 3}')
        assert done.returncode == 1
        assert done.stderr.startswith("error: InvalidInput: 1 problem with the arguments (HTTP 422)\n  where:   Front.greet\n")
        assert "NotFound" in app.run("call", "nothing").stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "error: which endpoint?"),
            (("greet", "hello"), "error: the body is no JSON"),
            (("greet", "@absent.json"), "error: the body can't be read"),
            (("greet", "{}", "{}"), "error: there is more than one body"),
            (("greet",), "error: no server of yours runs"),
            (("http://127.0.0.1:1", "greet"), "error: the server can't be reached"),
        ],
    )
    def test_wrong_uses(self, program, arguments, said):
        done = program.run("call", *arguments)
        assert done.stderr.startswith(said)
        assert done.returncode in (1, 2)

    def test_more_than_one_server(self, app, server):
        other = app.serve("app.py:app").until_ready()
        done = app.run("call", "greet", "{}")
        assert done.stderr.startswith("error: more than one server of yours runs")
        assert server.url in done.stderr
        assert other.url in done.stderr


class TestPs:
    def test_nothing_runs(self, program):
        assert program.run("ps").stdout == "No server runs. Start one: motet serve app.py:app\n"
        assert program.ps() == []

    @pytest.mark.parametrize("engine", ["local", "inline"])
    def test_calls_are_counted_at_once(self, app, gate, pool, engine):
        server = app.serve("app.py:app", "--engine", engine, "--name", "mine").until_ready()
        answer = pool.submit(server.post, "/hold")
        gate.until_reached_sync()
        (listed,) = app.ps()
        assert (listed["target"], listed["url"], listed["pid"], listed["engine"]) == ("app.py:app", server.url, server.process.pid, engine)
        (mine,) = listed["apps"]
        assert (mine["name"], mine["route"], mine["state"]) == ("mine", "/", "running")
        assert {node["name"]: [(r["state"], r["busy"]) for r in node["replicas"]] for node in mine["nodes"]} == {
            "Worker": [("ready", 1)],
            "Front": [("ready", 1)],
        }
        text = app.run("ps").stdout
        assert text.startswith(f"app.py:app  {server.url}  pid {server.process.pid}  up ")
        assert "Front#1" in text
        gate.open()
        answer.result()

    def test_a_stopped_supervisor_is_named(self, app):
        server = app.serve("app.py:app").until_ready()
        server.signal(signal.SIGSTOP)
        assert "it doesn't answer" in app.run("ps").stdout
        server.signal(signal.SIGCONT)
        assert "Front#1" in app.run("ps").stdout
