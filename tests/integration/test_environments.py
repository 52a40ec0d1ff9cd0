"""Environments are built, by both installers, from wheels that are made on the spot."""

import asyncio
import contextlib
import os
import select
import site
import socket
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from wheels import write_wheel

import motet
from motet import Environment
from motet.environments import build, hold, packages_of, prune, resolve, stored
from motet.environments.interpreters import find_python
from motet.environments.recipe import canonical, own_requirements
from motet.errors import StartError
from motet.testing import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=["uv", "pip"])
def installer(request, monkeypatch):
    monkeypatch.setenv("MOTET_INSTALLER", request.param)
    return request.param


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


@pytest.fixture
def wheels(tmp_path, monkeypatch, cache):
    """A folder of wheels that is the only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    write_wheel(folder, "motet-tune", "1.0")
    write_wheel(folder, "motet-tune", "2.0")
    write_wheel(folder, "motet-choir", "1.0", requires=["motet-tune<2"])
    return folder


class Lines(list):
    """What is reported."""

    def __call__(self, line):
        self.append(line)


def says(built, code):
    """Return what code prints in an environment, without the import path of the tests."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [built.python, "-c", code], env=variables, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout.strip()


async def make(folder, report=None, **options):
    packages = packages_of(Environment(**options), folder)
    return await build(packages, services=["Singer"], report=Lines() if report is None else report)


async def test_packages_come_on_top_of_the_servers(wheels, installer, tmp_path):
    report = Lines()
    built = await make(tmp_path, report, pip=["motet-choir"])
    assert (built.layered, built.version) == (True, f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert says(built, "import motet_choir, motet_tune; print(motet_tune.version)") == "1.0"
    assert says(built, "import motet, pytest; print(motet.__file__)").startswith(str(built.folder))
    assert f"by {installer}" in report[0]
    assert report[-1].startswith("environment for Singer: ready after")


async def test_the_servers_package_stays_unless_another_version_is_wanted(wheels, installer, tmp_path):
    for number in (version("click"), "0.1"):
        write_wheel(wheels, "iniconfig" if number == "0.1" else "click", number, source="version = 'layer'")
    write_wheel(wheels, "motet-old", "1.0", requires=["iniconfig<1", "click"])
    built = await make(tmp_path, pip=["motet-old"])
    assert says(built, "import iniconfig; print(iniconfig.version)") == "layer"
    assert says(built, "import click; print(hasattr(click, 'Group'))") == "True"


async def test_a_version_of_the_servers_that_no_index_has_is_kept(wheels, installer, tmp_path):
    """Such as a local build of torch."""
    write_wheel(wheels, "pytest", "99.0")
    write_wheel(wheels, "motet-plugin", "1.0", requires=["pytest"])
    built = await make(tmp_path, pip=["motet-plugin"])
    assert says(built, "import pytest; print(pytest.__version__)") == version("pytest")


@pytest.mark.parametrize("had", ["3.0rc1", "2.5+local"])
async def test_what_the_server_has_is_kept_though_no_index_has_it(wheels, installer, tmp_path, monkeypatch, had):
    server = tmp_path / "server"
    requires = ["motet-far @ https://x.example/far.whl"] if installer == "uv" else []  # pip asks for such a file again
    with zipfile.ZipFile(write_wheel(tmp_path, "motet-tune", had, requires=requires)) as wheel:
        wheel.extractall(server)
    with zipfile.ZipFile(write_wheel(tmp_path, "motet-far", "1.0")) as wheel:
        wheel.extractall(server)
    folders = [*site.getsitepackages(), str(server)]
    monkeypatch.setattr(site, "getsitepackages", lambda: folders)
    write_wheel(wheels, "motet-song", "1.0", requires=["motet-tune>=2"])
    built = await make(tmp_path, pip=["motet-song"])
    assert says(built, "import motet_song, motet_tune; print(motet_tune.version)") == had
    assert not list(built.folder.glob("lib/*/site-packages/motet_tune*"))


async def test_nothing_may_break_motet(wheels, installer, tmp_path):
    write_wheel(wheels, "pydantic", "1.0")
    with pytest.raises(StartError, match="Motet itself needs pydantic>=2"):
        await make(tmp_path, pip=["pydantic<2"])


async def test_without_the_servers_packages(wheels, installer, tmp_path):
    for requirement in own_requirements():
        write_wheel(wheels, canonical(requirement.partition(">")[0]), "999.0")
    built = await make(tmp_path, pip=["motet-tune"], isolated=True)
    assert not built.layered
    assert says(built, "import motet_tune, click; print(motet_tune.version, click.version)") == "2.0 999.0"
    found = "import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('motet').origin)"
    assert says(built, found) == f"None {Path(says(built, 'import sys; print(sys.prefix)')) / 'motet/motet/__init__.py'}"


async def test_a_second_start_starts_nothing(wheels, tmp_path, monkeypatch):
    report = Lines()
    first = await make(tmp_path, report, pip=["motet-tune"])
    report.clear()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", None)
    assert await make(tmp_path, report, pip=["motet_tune "]) == first
    assert not report


async def test_requirements_file(wheels, installer, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text("# tunes\nmotet-tune  # any\n-r more/other.txt\n")
    (tmp_path / "more" / "other.txt").write_text("motet-choir \\\n  >=1\n-c limits.txt\n../local-1.0-py3-none-any.whl\n")
    (tmp_path / "more" / "limits.txt").write_text("motet-tune==1.0\n")
    local = write_wheel(tmp_path, "local", "1.0")
    built = await make(tmp_path, requirements="requirements.txt")
    assert says(built, "import local, motet_tune; print(local.version, motet_tune.version)") == "1.0 1.0"
    write_wheel(tmp_path, "local", "1.0", source="version = 'other'")
    assert local.exists()
    again = await make(tmp_path, requirements="requirements.txt")
    assert again.key != built.key
    assert says(again, "import local; print(local.version)") == "other"


async def test_constraints_of_the_users_settings(wheels, installer, tmp_path, monkeypatch):
    (tmp_path / "limits.txt").write_text("motet-tune<2\n")
    free = await make(tmp_path, pip=["motet-tune"])
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "limits.txt"))
    built = await make(tmp_path, pip=["motet-tune"])
    assert built.key != free.key
    assert says(built, "import motet_tune; print(motet_tune.version)") == "1.0"


async def test_a_failing_install_says_whose_and_why(wheels, installer, tmp_path, cache):
    with pytest.raises(StartError, match="environment of Singer") as caught:
        await make(tmp_path, pip=["motet-choir", "motet-tune==3.0"])
    assert "motet-tune==3.0" in caught.value.where
    assert "motet-tune==3.0" in caught.value.found
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


async def test_conflicting_requirements(wheels, installer, tmp_path):
    with pytest.raises(StartError) as caught:
        await make(tmp_path, pip=["motet-choir", "motet-tune==2.0"])
    assert "motet-choir" in caught.value.found.lower().replace("_", "-")


async def test_resolving_installs_nothing(wheels, installer, tmp_path, cache):
    found = await resolve(packages_of(Environment(pip=["motet-choir"]), tmp_path), services=["Singer"], report=Lines())
    assert sorted(canonical(each) for each in found) == ["motet-choir==1-0", "motet-tune==1-0"]
    assert not stored()
    with pytest.raises(StartError, match="Singer"):
        await resolve(packages_of(Environment(pip=["motet-absent"]), tmp_path), services=["Singer"], report=Lines())


async def test_another_python(tmp_path, cache):
    """Of another minor version, with what Motet needs from the machine's index; where there is none, it is refused."""
    other = next(minor for minor in (12, 13, 14, 11) if minor != sys.version_info[1])
    try:
        await find_python(f"3.{other}")
    except StartError as refusal:
        with pytest.raises(StartError, match=f"no Python 3.{other}"):
            await make(tmp_path, python=f"3.{other}")
        assert f"Python 3.{other}" in str(refusal)  # noqa: PT017  # both ways say the same
        return
    built = await make(tmp_path, python=f"3.{other}")
    assert (built.layered, built.version) == (False, f"3.{other}")
    assert says(built, "import motet, sys; print(sys.version_info[1])") == str(other)


async def test_no_such_python(tmp_path, cache):
    with pytest.raises(StartError, match=r"no Python 3\.99") as caught:
        await make(tmp_path, python="3.99")
    assert f"{sys.version_info[0]}.{sys.version_info[1]}." in caught.value.found


async def test_builders_in_one_process_build_once(wheels, tmp_path):
    report = Lines()
    built = await asyncio.gather(*(make(tmp_path, report, pip=["motet-tune"]) for _ in range(3)))
    assert len(set(built)) == 1
    assert len([line for line in report if "ready after" in line]) == 1
    assert [line for line in report if f"process {os.getpid()} builds it already" in line]


# A project whose build says that it has begun and goes on when it is let.
BACKEND = """
import os, sys, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    here = os.environ["HELD_BUILD"]
    with open(os.path.join(here, "begun"), "a") as file:
        print(os.getpid(), file=file)
    open(os.path.join(here, "pipe")).read()
    with zipfile.ZipFile(os.path.join(wheel_directory, "held-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("held.py", "")
        wheel.writestr("held-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: held\\nVersion: 1.0\\n")
        wheel.writestr("held-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("held-1.0.dist-info/RECORD", "")
    return "held-1.0-py3-none-any.whl"
"""


class HeldBuild:
    """A project whose build waits until it is let."""

    def __init__(self, folder, shown):
        self.folder, self.shown = folder, shown
        for path in (folder, shown):
            path.mkdir()
        (folder / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n')
        (folder / "backend.py").write_text(BACKEND)
        os.mkfifo(shown / "pipe")

    async def begun(self):
        """Wait until a build has begun, and hold it."""
        self._end = await asyncio.wait_for(asyncio.to_thread(os.open, self.shown / "pipe", os.O_WRONLY), PATIENCE)

    def let(self):
        """Let the build go on, and all later ones."""
        (self.shown / "open").touch()
        (self.shown / "open").rename(self.shown / "pipe")
        os.close(self._end)

    @property
    def builders(self):
        """The process ids of all builds that have begun."""
        return [int(line) for line in (self.shown / "begun").read_text().split()]


@pytest.fixture
def held(wheels, tmp_path, monkeypatch):
    held = HeldBuild(tmp_path / "held", tmp_path / "shown")
    monkeypatch.setenv("HELD_BUILD", str(held.shown))
    return held


async def until_ended(pid):
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            await asyncio.wait_for(asyncio.to_thread(select.select, [descriptor], [], []), PATIENCE)
        finally:
            os.close(descriptor)


OTHER_PROCESS = """
import asyncio, sys
from motet import Environment
from motet.environments import build, packages_of

built = asyncio.run(build(packages_of(Environment(pip=[sys.argv[1]]), "/"), services=["Other"], report=lambda line: None))
print(built.key)
"""


@pytest.fixture
def other(held):
    """Another process that builds the environment."""
    with subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, str(held.folder)], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_what_uv_is_at_is_told(held, tmp_path, monkeypatch):
    """It says nothing itself before it is done."""
    monkeypatch.setenv("MOTET_INSTALLER", "uv")
    monkeypatch.setattr("motet.environments.commands.TELL_EVERY", 0.01)
    report = asyncio.Queue()
    task = asyncio.create_task(make(tmp_path, report.put_nowait, pip=[str(held.folder)]))
    async with asyncio.timeout(PATIENCE):
        while not (await report.get()).endswith(" s: finding versions that go together"):
            pass
    await held.begun()
    held.let()
    await task


async def test_two_processes_build_once(held, other, tmp_path):
    await held.begun()
    report = asyncio.Queue()
    task = asyncio.create_task(make(tmp_path, report.put_nowait, pip=[str(held.folder)]))
    assert f"process {other.pid} builds it already" in await asyncio.wait_for(report.get(), PATIENCE)
    held.let()
    built = await task
    assert report.empty()
    assert other.stdout.read().strip() == built.key
    assert len(stored()) == 1


async def test_an_interrupted_build_is_never_taken_for_a_finished_one(held, installer, other, tmp_path):
    await held.begun()
    other.kill()
    await until_ended(held.builders[0])  # the installer, and what it has started, end with who wanted them
    (unfinished,) = stored()
    assert unfinished.record is None
    held.let()
    report = Lines()
    built = await make(tmp_path, report, pip=[str(held.folder)])
    assert (built.key, says(built, "import held; print(held.__name__)")) == (unfinished.key, "held")
    assert len([line for line in report if "ready after" in line]) == 1


async def test_cancelling_ends_the_installer(held, installer, tmp_path, cache):
    task = asyncio.create_task(make(tmp_path, pip=[str(held.folder)]))
    await held.begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_ended(held.builders[0])
    assert not stored()


class Singer(motet.Service):
    @motet.endpoint
    def sing(self) -> str:
        return "la"


def zygotes(supervisor):
    """Return the ids of a server's zygotes."""
    children = [int(pid) for task in Path(f"/proc/{supervisor}/task").iterdir() for pid in (task / "children").read_text().split()]
    return {pid for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"motet zygote")}


async def _run(node):
    async with motet.run(node, name="held"):
        return


async def test_a_start_that_is_cancelled_ends_what_is_built_for_it(held):
    """No process that was started for it is left, and what runs goes on."""
    async with asyncio.timeout(PATIENCE), motet.run(Singer.bind(), name="other"):
        (server,) = await motet.status()
        before = zygotes(server.pid)
        node = Singer.bind().options(environment=Environment(pip=[str(held.folder)]))
        starting = asyncio.ensure_future(_run(node))
        await held.begun()
        (builder,) = held.builders
        starting.cancel()
        await until_ended(builder)
        while zygotes(server.pid) != before:  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.01)


async def test_what_is_used_or_built_is_never_thrown_away(held, other, tmp_path):
    await held.begun()
    assert [(each.record, each.in_use) for each in stored()] == [(None, True)]
    assert not prune()
    held.let()
    other.wait(PATIENCE)
    built = await make(tmp_path, pip=[str(held.folder)])
    using = hold(built)
    assert [each.in_use for each in stored()] == [True]
    assert not prune()
    using.close()
    assert not prune(unused_for=3600)
    assert [each.key for each in prune()] == [built.key]
    assert not stored()
    with pytest.raises(StartError, match="thrown away"):
        hold(built)


async def test_an_environment_without_its_python_is_built_anew(wheels, tmp_path):
    built = await make(tmp_path, pip=["motet-tune"])
    built.python.unlink()
    assert says(await make(tmp_path, pip=["motet-tune"]), "import motet_tune; print(motet_tune.version)") == "2.0"


async def test_an_index_that_does_not_answer(wheels, installer, tmp_path, monkeypatch):
    with socket.socket() as closed:  # bound and not listening: refuses
        closed.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        with pytest.raises(StartError, match="index can't be reached") as caught:
            await make(tmp_path, pip=["motet-absent"])
        assert "secret" not in str(caught.value)
