"""What `motet serve` says when it can't start: the cause on the first screen, exit code 1, and nothing left behind."""

import socket

import pytest

APP = """
import pathlib
import motet

class Model(motet.Service):
    def __init__(self, path: str) -> None:
        self.weights = load(path)

    @motet.endpoint
    def size(self) -> int:
        return len(self.weights)

class Front(motet.Service):
    def __init__(self, model: Model) -> None: ...

    @motet.endpoint
    def hello(self) -> str:
        return "hello"

def load(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise RuntimeError("no weights") from error

app = Front.bind(Model.bind("/nowhere/model.bin"))

class Dying(motet.Service):
    def __init__(self) -> None:
        import os
        os._exit(7)

    @motet.endpoint
    def hello(self) -> str: ...

dying = Dying.bind()
"""


@pytest.fixture
def refused(program):
    """Return what a serve that can't start says."""

    def run(*arguments, **options):
        done = program.run("serve", *([] if "--port" in arguments else ["--port", "0"]), *arguments, **options)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        assert program.leftovers() == []
        return done.stderr

    return run


@pytest.fixture
def app(program):
    program.write("app.py", APP)


def test_no_such_file(program, refused):
    program.write("application.py", "")
    assert refused("aplication.py:app") == ("error: there is no such file\n  found:   aplication.py\n  instead: application.py\n")


def test_no_such_name(app, refused):
    assert refused("app.py:ap") == "error: app.py has no name 'ap'\n  where:   app.py\n  instead: app.py:app\n"


def test_a_class_is_no_app(app, refused):
    assert refused("app.py:Front") == (
        "error: app.py:Front is no bound node\n  where:   app.py\n  found:   the class Front\n  instead: app = Front.bind(...)\n"
    )


def test_no_such_module(refused):
    assert "error: there is no module 'package.missing'" in refused("package.missing:app")


def test_an_import_fails(program, refused):
    program.write("app.py", "import helper\n")
    program.write("helper.py", "def prepare():\n    import not_installed\n\nprepare()\n")
    said = refused("app.py:app").splitlines()
    assert said[0] == "error: importing app.py failed: ModuleNotFoundError: No module named 'not_installed'"
    assert said[1] == "  where:   helper.py:2"
    assert [line.strip() for line in said[2:] if line.strip().startswith('File "')] == [
        'File "app.py", line 1, in <module>',
        'File "helper.py", line 4, in <module>',
        'File "helper.py", line 2, in prepare',
    ]


def test_a_syntax_error_is_shown_where_it_is(program, refused):
    program.write("app.py", "import os\ndef f(:\n    pass\n")
    said = refused("app.py:app")
    assert "where:   app.py:2\n" in said
    assert "def f(:" in said


def test_a_file_that_ends_the_program(program, refused):
    program.write("app.py", "raise SystemExit(3)\n")
    assert "importing app.py ended the program (exit code 3)" in refused("app.py:app")


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_program_that_runs_its_app_when_it_is_imported(program, command):
    program.write("app.py", APP + "\nwith motet.run(app):\n    pass\n")
    done = program.run(command, "app.py:app")
    assert done.returncode == 1
    assert done.stderr.splitlines()[:3] == [
        "error: motet.run is called while the file is imported to find the services in it",
        "  where:   app.py:38",
        "  instead: if __name__ == '__main__': above it",
    ]
    assert program.leftovers() == []


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_a_constructor_raises(app, refused, engine):
    said = refused("app.py:app", "--engine", engine)
    first, where, *frames = said.splitlines()
    assert first.startswith("error: Model could not")
    assert first.endswith("RuntimeError: no weights")
    assert where == "  where:   app.py:26"
    assert [line.strip() for line in frames if line.strip().startswith('File "')] == [
        'File "app.py", line 7, in __init__',
        'File "app.py", line 24, in load',
        'File "app.py", line 22, in load',
    ]
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/model.bin'" in frames[-1]


def test_a_constructor_ends_its_process(app, refused):
    assert "error: Dying died while starting (exited with code 7)" in refused("app.py:dying")


def test_a_traceback_is_shown_if_asked_for(app, program):
    assert "Traceback (most recent call last)" in program.run("serve", "app.py:app", "--port", "0", "--traceback").stderr
    program.environment["MOTET_TRACEBACK"] = "1"
    assert "Traceback (most recent call last)" in program.run("serve", "app.py:ap", "--port", "0").stderr


def test_a_port_that_another_program_has(app, refused):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused("app.py:app", "--port", str(port)) == (
            f"error: port {port} on 127.0.0.1 is taken\n  found:   another program\n  instead: --port 0 for any free one, or another port\n"
        )


def test_an_address_of_another_machine(app, refused):
    assert "error: can't listen on 192.0.2.1:8000" in refused("app.py:app", "--host", "192.0.2.1", "--port", "8000", "--api-key", "k")


def test_an_open_address_needs_a_key(app, refused):
    assert "error: a server that others can reach needs an API key" in refused("app.py:app", "--host", "0.0.0.0")


def test_inline_does_not_reload(app, refused):
    assert "error: the inline engine can't reload" in refused("app.py:app", "--engine", "inline", "--reload")


def test_too_few_file_descriptors(app, program):
    server = program.serve("app.py:app", prefix="ulimit -n 30")
    assert server.wait() == 1
    assert server.lines[0] == "error: too few files may be open at once"
