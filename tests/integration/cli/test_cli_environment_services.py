"""Services in their environments: what is there before their code is loaded, and that everything between them is as ever."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Processes
from wheels import write_wheel

from motet.environments.interpreters import find_python
from motet.errors import StartError
from motet.testing import PATIENCE

TUNE = """
version = {version!r}

class Tune:
    def sing(self, text):
        return text + " " + version

def cached(function):
    return function
"""

APP = """
import os
from dataclasses import dataclass

import motet
import motet_tune
import numpy as np
from motet_tune import Tune
from pydantic import BaseModel

PITCH = os.environ.get("PITCH", "none")
TUNE = Tune()

class Score(BaseModel):
    text: str
    notes: list[int] = []

@dataclass
class Note:
    height: int

class Flat(Exception):
    def __init__(self, by: int, *, why: str) -> None:
        super().__init__(by)
        self.by, self.why = by, why

class Old(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=["motet-tune<2"], env={"PITCH": "440"}))

    def __init__(self, context: motet.Context = motet.injected) -> None:
        self.context = context

    @motet.endpoint
    @motet_tune.cached
    def sing(self, text: str) -> list[str]:
        return [Tune().sing(text), PITCH, self.context.environment["PITCH"]]

    @motet.endpoint
    def play(self, score: Score, note: Note, wave: np.ndarray) -> tuple[Score, Note, np.ndarray]:
        return Score(text=score.text + "!", notes=[note.height]), Note(note.height + 1), wave * 2

    @motet.endpoint
    def tuned(self, wave: np.ndarray) -> np.ndarray:
        return wave * 2

    @motet.endpoint
    async def scale(self, count: int) -> motet_stream:
        for height in range(count):
            yield Note(height)

    @motet.batched(max_size=4)
    def double(self, heights: list[int]) -> list[int]:
        return [height * 2 for height in heights]

    @motet.endpoint
    def fail(self) -> str:
        raise Flat(3, why="cold")

class New(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=["motet-tune"]))

    @motet.endpoint
    def sing(self, text: str) -> list[str]:
        return [TUNE.sing(text), PITCH]

    @motet.endpoint
    def total(self, wave: np.ndarray) -> float:
        return float(wave.sum())

class Choir(motet.Service):
    def __init__(self, old: Old, new: New) -> None:
        self.old, self.new = old, new

    @motet.endpoint
    async def sing(self, text: str) -> list[str]:
        return [*await self.old.sing(text), *await self.new.sing(text), PITCH]

    @motet.endpoint
    async def exchange(self) -> list[str]:
        wave = np.arange(50_000, dtype=np.float64)
        score, note, doubled = await self.old.play(Score(text="la"), Note(3), wave)
        total = await self.new.total(doubled)
        forwarded = await self.new.total(self.old.tuned(wave).ref)
        notes = [note async for note in self.old.scale(3)]
        try:
            await self.old.fail()
        except Flat as error:
            failed = f"{error.by} {error.why}"
        return [repr(score), repr(note), str(total == forwarded == wave.sum() * 2), repr(notes), failed, str(await self.old.double(4))]

app = Choir.bind(Old.bind(), New.bind())
""".replace("motet_stream", "AsyncIterator[Note]").replace("import os\n", "import os\nfrom collections.abc import AsyncIterator\n", 1)


@pytest.fixture
def wheels(tmp_path, program):
    """A folder of wheels that is the only index, and a cache of its own."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    variables = program.environment
    for name in [name for name in variables if name.startswith(("PIP_", "UV_"))]:
        del variables[name]
    variables |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "UV_NO_CACHE": "1"}
    variables["MOTET_CACHE_DIR"] = str(tmp_path / "cache")
    for version in ("1.0", "2.0"):
        write_wheel(folder, "motet-tune", version, source=TUNE.format(version=version))
    return folder


def zygotes(server) -> list[str]:
    """Return the titles of the server's zygotes."""
    return sorted(title for title in server.titles().values() if title.startswith("motet zygote"))


@pytest.fixture
def served(program, wheels):
    program.write("app.py", APP)
    return program.serve("app.py:app").until_ready()


def test_each_service_has_its_packages_and_variables(program, served):
    assert served.post("/sing", {"text": "la"}).json() == ["la 1.0", "440", "440", "la 2.0", "none", "none"]
    assert "environment for Old: ready after" in served.output
    (server,) = program.ps()
    environments = {node["name"]: node["environment"] for node in server["apps"][0]["nodes"]}
    assert environments["Choir"] is None
    assert environments["Old"].endswith(" with PITCH")
    assert f"New runs in the environment {environments['New']}" in program.run("ps").stdout


def test_everything_travels_between_environments(served):
    answer = served.post("/exchange").json()
    assert answer == [
        "Score(text='la!', notes=[3])",
        "Note(height=4)",
        "True",
        "[Note(height=0), Note(height=1), Note(height=2)]",
        "3 cold",
        "8",
    ]


def test_a_second_start_builds_nothing(program, served):
    served.signal(signal.SIGINT)
    assert served.wait() == 0
    again = program.serve("app.py:app").until_ready()
    assert "environment for" not in again.output
    assert again.post("/sing", {"text": "la"}).json()[0] == "la 1.0"


def test_zygote_and_replica_are_replaced_when_they_are_killed(served):
    pids = served.pids()
    killed = Processes([served.titled("with PITCH"), pids["Old"]])
    for pid in killed.pids:
        os.kill(pid, signal.SIGKILL)
    killed.until_ended(PATIENCE)
    served.until("Old#2 ready in")
    assert served.post("/sing", {"text": "la"}).json()[:2] == ["la 1.0", "440"]


def test_everything_ends_with_a_killed_server(served):
    left = served.descendants()
    served.signal(signal.SIGKILL)
    left.until_ended(PATIENCE)


SHARED = """
import os
import motet

SEEN = os.environ.get("PITCH")

class Bass(motet.Service):
    config = motet.Config(environment=motet.Environment(env={"PITCH": "110"}, working_dir="cellar"))

    @motet.endpoint
    def where(self) -> list[str]:
        return [str(SEEN), os.path.basename(os.getcwd())]

class Alto(motet.Service):
    config = motet.Config(environment=motet.Environment(env={"PITCH": "110"}))

    def __init__(self, bass: Bass) -> None:
        self.bass = bass

    @motet.endpoint
    async def where(self) -> list[str]:
        return [str(SEEN), os.path.basename(os.getcwd()), *await self.bass.where()]

app = Alto.bind(Bass.bind())

def local():
    class Local(Alto):
        pass
    return Local

made = local().bind(Bass.bind())
"""


def test_services_with_equal_variables_share_a_zygote_and_folders_are_relative_to_the_file(program, wheels):
    program.write("code/cellar/wine.txt", "red")
    program.write("code/app.py", SHARED)
    server = program.serve("code/app.py:app").until_ready()
    assert server.post("/where").json() == ["110", program.folder.name, "110", "cellar"]
    assert zygotes(server) == ["motet zygote", "motet zygote with PITCH"]
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    local = program.serve("code/app.py:made").until_ready()
    assert local.post("/where").json()[2:] == ["110", "cellar"]


def test_inline_says_that_it_has_one_process(program, wheels):
    program.write("code/app.py", SHARED)
    server = program.serve("code/app.py:app", "--engine", "inline").until_ready()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    variables = "environment.env (it is in Context.environment, not in os.environ)"
    assert f"inline ignores placement: Bass: environment, {variables}; Alto: {variables}" in server.output


def test_a_missing_working_folder_is_refused(program, wheels):
    program.write("app.py", SHARED)
    server = program.serve("app.py:app")
    assert server.wait() == 1
    assert "the working folder of Bass doesn't exist" in server.output
    assert "found:   cellar" in server.output


def test_a_failing_install_refuses_the_app(program, wheels):
    program.write("app.py", APP.replace('"motet-tune"', '"motet-tune>2"'))
    server = program.serve("app.py:app")
    assert server.wait() == 1
    assert "the environment of New can't be built" in server.output
    assert "motet-tune>2" in server.output
    assert program.leftovers() == []


WRONG = """
class Wrong(motet.Service):
    @motet.endpoint
    def hum(self) -> str:
        return motet_tune.version

app = Wrong.bind()
"""


def test_a_name_that_a_service_lacks_in_its_environment_is_refused_before_any_request(program, wheels):
    program.write("app.py", APP + WRONG)
    server = program.serve("app.py:app")
    assert server.wait() == 1
    assert "No module named 'motet_tune'" in server.output
    assert "Wrong uses it, in the server's own environment" in server.output
    assert "Environment(pip=[...])` of Wrong" in server.output
    checked = program.run("check", "app.py:app")
    assert (checked.returncode, "Wrong uses it" in checked.stderr) == (1, True)


def test_code_that_fails_in_an_environment_says_which(program, wheels):
    program.write("app.py", APP + "\nif isinstance(PITCH, motet_tune.Pitch):\n    pass\n")
    server = program.serve("app.py:app")
    assert server.wait() == 1
    assert "can't be loaded in the environment" in server.output
    assert "has no attribute 'Pitch'" in server.output


def test_a_reload_keeps_the_old_version_when_an_install_fails(program, wheels):
    program.write("app.py", APP)
    server = program.serve("app.py:app", "--reload").until_ready()
    before = server.pids()
    program.write("app.py", APP.replace('"motet-tune"', '"motet-tune>2"'))
    server.until("not reloaded: the old version goes on serving")
    assert server.pids() == before
    program.write("app.py", APP.replace('"motet-tune"', '"motet-tune==1.0"'))
    server.until("reloaded:")
    assert server.post("/sing", {"text": "la"}).json()[3] == "la 1.0"
    after = server.pids()
    assert (after["Old"], after["Choir"]) == (before["Old"], before["Choir"])
    assert after["New"] != before["New"]
    assert len(zygotes(server)) == 3


def test_an_interrupt_during_an_install_ends_everything(program, wheels, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as index:
        del program.environment["PIP_NO_INDEX"]
        program.environment["PIP_INDEX_URL"] = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        program.write("app.py", APP.replace('"motet-tune"', '"motet-unknown"'))
        server = program.serve("app.py:app")
        server.until("environment for New: ")
        index.settimeout(PATIENCE)
        connection, _ = index.accept()  # the installer waits for an answer
        with connection:
            left = server.descendants()
            server.signal(signal.SIGINT)
            assert server.wait() == 130
            left.until_ended(PATIENCE)
    assert program.leftovers() == []


SCRIPT = """
import os
import motet
from iniconfig import IniConfig

class Old(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=["iniconfig<1"]))

    @motet.endpoint
    def version(self) -> str:
        import iniconfig
        return iniconfig.version

class Root(motet.Service):
    def __init__(self, old: Old) -> None:
        self.old = old

    @motet.endpoint
    async def both(self) -> list[str]:
        return [await self.old.version(), IniConfig.__name__]

if __name__ == "__main__":
    with motet.run(Root.bind(Old.bind())) as root:
        print(root.both().result())
"""


LOCAL = """
def local():
    class Inner(Old): ...
    return Inner

if __name__"""


def run(program, text: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the folder."""
    file = program.write("program.py", text)
    return subprocess.run(
        [sys.executable, str(file)],
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_script_may_import_what_an_environment_has_broken(program, wheels):
    write_wheel(wheels, "iniconfig", "0.1", source="version = '0.1'\n")
    ended = run(program, SCRIPT)
    assert ended.stdout == "['0.1', 'IniConfig']\n", ended.stderr


def test_a_class_without_a_module_is_refused_on_another_python(program, wheels):
    made = SCRIPT.replace("if __name__", LOCAL).replace(
        "Root.bind(Old.bind())", 'local().bind().options(environment=motet.Environment(python="3.99"))'
    )
    ended = run(program, made)
    assert "Inner can't run on Python 3.99" in ended.stderr
    assert "travels as compiled code" in ended.stderr


def test_a_class_without_a_module_runs_in_an_environment(program, wheels):
    made = (
        SCRIPT.replace("if __name__", "def local():\n    class Inner(Old): ...\n    return Inner\n\nif __name__")
        .replace("Root.bind(Old.bind())", "local().bind()")
        .replace("root.both()", "root.version()")
    )
    write_wheel(wheels, "iniconfig", "0.1", source="version = '0.1'\n")
    ended = run(program, made)
    assert ended.stdout == "0.1\n", ended.stderr


PROCESSES = """
import subprocess
import sys
import motet

class Optimized(motet.Service):
    config = motet.Config(environment=motet.Environment(env={"PYTHONOPTIMIZE": "1"}))

    @motet.endpoint
    def facts(self) -> list[str]:
        return [str(sys.flags.optimize), str(__debug__)]

class Layered(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=["motet-tune<2"]))

    def __init__(self, optimized: Optimized) -> None:
        self.optimized = optimized

    @motet.endpoint
    async def facts(self) -> list[str]:
        program = "import sys, motet_tune; print(sys.prefix)"
        asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        return [str(asked == sys.prefix), sys.prefix, *await self.optimized.facts()]

app = Layered.bind(Optimized.bind())
"""


def test_a_process_is_what_one_started_in_its_environment_would_be(program, wheels):
    program.write("app.py", PROCESSES)
    server = program.serve("app.py:app").until_ready()
    same, prefix, *optimized = server.post("/facts").json()
    assert (same, optimized) == ("True", ["1", "False"])
    assert Path(prefix).parent == program.folder / "cache" / "environments"


def test_without_the_process_that_zygotes_come_from_they_are_started(program, wheels):
    program.write("app.py", APP)
    server = program.serve("app.py:app", "--reload").until_ready()
    stem = Processes([server.titled("motet stem")])
    os.kill(stem.pids[0], signal.SIGKILL)
    stem.until_ended(PATIENCE)
    program.write("app.py", APP.replace("text + '!'", "text").replace('score.text + "!"', "score.text"))
    server.until("reloaded: Old")
    assert server.post("/sing", {"text": "la"}).json()[0] == "la 1.0"


VERSIONS = """
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import motet
from pydantic import BaseModel

class Key(Enum):
    MINOR = "minor"

class Score(BaseModel):
    key: Key
    notes: list[int] = []

@dataclass
class Note:
    height: int

class Flat(Exception):
    def __init__(self, by: int, *, why: str) -> None:
        super().__init__(by)
        self.by, self.why = by, why

class Other(motet.Service):
    config = motet.Config(environment=motet.Environment(python="3.OTHER"))

    @motet.endpoint
    def play(self, score: Score, note: Note) -> dict[str, object]:
        return {"score": score, "note": Note(note.height + 1), "version": sys.version_info[1], "range": slice(1, 2)}

    @motet.endpoint
    def scale(self, count: int) -> Iterator[Note]:
        yield from map(Note, range(count))

    @motet.endpoint
    def fail(self) -> str:
        raise Flat(3, why="cold")

    @motet.endpoint
    def compiled(self) -> dict[str, object]:
        return {"function": lambda: 1}

class Root(motet.Service):
    def __init__(self, other: Other) -> None:
        self.other = other

    @motet.endpoint
    async def exchange(self) -> list[str]:
        played = await self.other.play(Score(key=Key.MINOR, notes=[1]), Note(3))
        found = [repr(played), repr([note async for note in self.other.scale(2)])]
        try:
            await self.other.fail()
        except Flat as error:
            found.append(f"{error.by} {error.why}")
        try:
            await self.other.compiled()
        except motet.InvalidOutput as error:
            found.append(str(error))
        return found

app = Root.bind(Other.bind())
"""


def test_another_minor_version_of_python(program, tmp_path):
    """With what Motet needs from the machine's index; where there is no other Python, it is refused."""
    other = next(minor for minor in (12, 13, 14, 11) if minor != sys.version_info[1])
    program.environment["MOTET_CACHE_DIR"] = str(tmp_path / "cache")
    program.write("app.py", VERSIONS.replace("OTHER", str(other)))
    server = program.serve("app.py:app")
    try:
        asyncio.run(find_python(f"3.{other}"))
    except StartError:
        assert server.wait() == 1
        assert f"there is no Python 3.{other}" in server.output
        return
    played, notes, failed, refused = server.until_ready().post("/exchange").json()
    score = "Score(key=<Key.MINOR: 'minor'>, notes=[1])"
    assert played == f"{{'score': {score}, 'note': Note(height=4), 'version': {other}, 'range': slice(1, 2, None)}}"
    assert (notes, failed) == ("[Note(height=0), Note(height=1)]", "3 cold")
    assert f"code of Python 3.{other} in it" in refused
