"""`motet env`, and `motet check --environments`, with wheels that are made on the spot."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cli_program import MOTET
from wheels import write_wheel

from motet.environments.store import hold
from motet.testing import PATIENCE

APP = """
import motet

class Tune(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=["motet-tune<2"]))

    @motet.endpoint
    def version(self) -> str:
        return "1"

class Same(Tune):
    pass

class Choir(motet.Service):
    config = motet.Config(environment=motet.Environment(requirements="requirements.txt"))

    def __init__(self, tune: Tune, same: Same) -> None: ...

    @motet.endpoint
    def version(self) -> str:
        return "1"

app = Choir.bind(Tune.bind(), Same.bind())
alone = Tune.bind().options(environment=motet.Environment(env={"A": "1"}))
"""


@pytest.fixture
def app(app, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "motet-tune", "1.0")
    write_wheel(wheels, "motet-choir", "1.0", requires=["motet-tune"])
    app.write("requirements.txt", "motet-choir\n")
    app.environment = {name: value for name, value in app.environment.items() if not name.startswith(("PIP_", "UV_"))}
    app.environment |= {"MOTET_CACHE_DIR": str(tmp_path / "cache"), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    app.environment["PIP_FIND_LINKS"] = str(wheels)
    return app


def listed(app):
    return json.loads(app.run("env", "list", "--json").stdout)


def test_build_list_prune(app):
    assert app.run("env", "list").stdout.startswith("No environment is kept")
    built = app.run("env", "build", "app.py:app")
    assert built.returncode == 0
    assert [line.partition(":")[0] for line in built.stdout.splitlines()] == ["Tune, Same", "Choir"]
    assert "environment for Tune, Same: ready after" in built.stderr
    found = listed(app)
    assert sorted(each["requirements"] for each in found) == [["motet-choir"], ["motet-tune<2"]]
    assert all(each["size"] > 0 and each["state"] == "ready" for each in found)
    again = app.run("env", "build", "app.py:app")
    assert (again.stdout, again.stderr) == (built.stdout, "")
    lines = app.run("env", "list").stdout.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("2 environments, ")
    assert app.run("env", "prune").stdout.startswith("0 environments")
    with hold(Path(found[0]["folder"])):
        done = app.run("env", "prune", "--all").stdout.splitlines()[-1]
        assert (done.startswith("1 environment thrown away"), done.endswith("; 1 environment in use")) == (True, True)
    assert app.run("env", "build", "app.py:app").returncode == 0
    assert app.run("env", "prune", "--older-than", "0s").stdout.splitlines()[-1].startswith("2 environments thrown away")
    assert listed(app) == []


def test_check_resolves_and_installs_nothing(app):
    checked = app.run("check", "app.py:app", "--environments")
    assert checked.returncode == 0
    assert "Choir: motet-choir==1.0, motet-tune==1.0, beside the server's packages" in checked.stdout
    assert listed(app) == []


def test_faults_of_all_files_are_said_together(app):
    app.write("app.py", APP.replace('pip=["motet-tune<2"]', 'requirements="other.txt"'))
    app.write("requirements.txt", "motet choir\n")
    checked = app.run("check", "app.py:app")
    assert checked.returncode == 1
    for said in ("3 faults", "(Tune): the requirements", "(Same): the requirements", "requirements.txt:1 (Choir): this is no requirement"):
        assert said in checked.stderr


def test_check_says_which_requirements_cannot_be_had(app):
    app.write("requirements.txt", "motet-choir\nmotet-absent>=7\n")
    checked = app.run("check", "app.py:app", "--environments")
    assert checked.returncode == 1
    assert "the environment of Choir can't be built" in checked.stderr
    assert "motet-absent>=7" in checked.stderr
    assert "Tune, Same: motet-tune==1.0" in checked.stdout


def test_a_missing_file_is_said_with_its_service(app):
    (app.folder / "requirements.txt").unlink()
    for command in (("check", "app.py:app"), ("env", "build", "app.py:app"), ("serve", "app.py:app", "--port", "0")):
        done = app.run(*command)
        assert done.returncode == 1
        (said,) = [line for line in done.stderr.splitlines() if "the requirements file can't be read" in line]
        assert re.match(r"app\.py:\d+ \(Choir\): ", said)


def test_no_environment_is_wanted(app):
    assert app.run("env", "build", "app.py:alone").stdout == "No service has packages of its own.\n"


def test_a_wrong_time(app):
    assert "write 12h or 30d" in app.run("env", "prune", "--older-than", "week").stderr


def test_ctrl_c_ends_a_build(app, tmp_path):
    """A build that asks a pipe for its pages waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    app.write("requirements.txt", "./held\n")
    backend = f"open({str(tmp_path / 'pipe')!r}).read()\n"
    app.write("held/pyproject.toml", '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n')
    app.write("held/backend.py", backend)
    with subprocess.Popen(
        [*MOTET, "env", "build", "app.py:app"], cwd=app.folder, env=app.environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        held = os.open(tmp_path / "pipe", os.O_WRONLY)  # waits until the build has opened it
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        with pytest.raises(BrokenPipeError):  # whoever read it is gone
            os.write(held, b"x")
        os.close(held)
    assert [each["requirements"] for each in listed(app)] in ([], [["motet-tune<2"]])
