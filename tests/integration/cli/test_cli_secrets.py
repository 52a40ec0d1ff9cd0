"""`motet serve --secrets` and `--env-file`: what each process knows, what is shown, and what a change of a file does."""

import json
import os
import signal
from pathlib import Path

import pytest

TOKEN, PASSWORD = "APP_TOKEN", "APP_PASSWORD"
VALUE, OTHER = "hunter2-in-the-open", "correct-horse-battery"

APP = f"""
import logging
import os
import subprocess

import motet

log = logging.getLogger("app")


class Base(motet.Service):
    def __init__(self, context: motet.Context = motet.injected) -> None:
        self.at_construction = dict(os.environ)
        self.context = context

    @motet.endpoint
    def environment(self) -> dict[str, str]:
        assert self.at_construction == dict(os.environ)
        return dict(os.environ)

    @motet.endpoint
    def pid(self) -> int:
        return os.getpid()


class Model(Base):
    config = motet.Config(assets=motet.Assets(secrets=["{TOKEN}"]))

    @motet.endpoint
    def loud(self) -> None:
        token = self.context.secrets["{TOKEN}"]
        log.warning("logged %s", token)
        log.warning("in data %r", {{"token": token}})
        try:
            raise PermissionError(token)
        except PermissionError:
            log.exception("caught")

    @motet.endpoint
    def fail(self) -> int:
        raise PermissionError("refused " + self.context.secrets["{TOKEN}"])

    @motet.endpoint
    def printed(self) -> None:
        print("printed", self.context.secrets["{TOKEN}"], flush=True)


class Store(Base):
    config = motet.Config(assets=motet.Assets(secrets=["{PASSWORD}"]))


class Plain(Base):
    config = motet.Config(environment=motet.Environment(env={{"{PASSWORD}": "of its own"}}))


class Front(Base):
    def __init__(self, model: Model, store: Store, plain: Plain, context: motet.Context = motet.injected) -> None:
        super().__init__(context)
        self.services = {{"Model": model, "Store": store, "Plain": plain}}

    @motet.endpoint
    async def environments(self) -> dict[str, dict[str, str]]:
        return {{"Front": dict(os.environ), **{{name: await each.environment() for name, each in self.services.items()}}}}

    @motet.endpoint
    async def pids(self) -> dict[str, int]:
        return {{"Front": os.getpid(), **{{name: await each.pid() for name, each in self.services.items()}}}}

    @motet.endpoint
    async def loud(self) -> None:
        await self.services["Model"].loud()

    @motet.endpoint
    async def fail(self) -> int:
        return await self.services["Model"].fail()

    @motet.endpoint
    async def printed(self) -> None:
        await self.services["Model"].printed()


app = Front.bind(Model.bind(), Store.bind(), Plain.bind())
"""

REFUSES = f"""
import motet


class Refuses(motet.Service):
    config = motet.Config(assets=motet.Assets(secrets=["{TOKEN}"]))

    def __init__(self, context: motet.Context = motet.injected) -> None:
        raise PermissionError("refused " + context.secrets["{TOKEN}"])

    @motet.endpoint
    def f(self) -> int:
        return 1


app = Refuses.bind()
"""


@pytest.fixture
def folder(program):
    program.write("app.py", APP)
    for name, value in ((TOKEN, VALUE), (PASSWORD, OTHER)):
        program.write(f"secrets/{name}", value + "\n").chmod(0o600)
    return program


def with_secrets(server):
    """Return the names of what each service has in its environment of the two."""
    environments = server.post("/environments").json()
    return {name: {each: found[each] for each in (TOKEN, PASSWORD) if each in found} for name, found in environments.items()}


# That of the same name that a service declares for itself, for everybody to read, isn't the secret.
EACH_ITS_OWN = {"Front": {}, "Plain": {PASSWORD: "of its own"}, "Model": {TOKEN: VALUE}, "Store": {PASSWORD: OTHER}}


def test_folder(folder):
    """Each service has its own in its environment before its constructor runs; no process shows one on its command line."""
    server = folder.serve("app.py:app", "--secrets", "secrets").until_ready()
    assert with_secrets(server) == EACH_ITS_OWN
    for pid in (server.process.pid, *server.descendants().pids):
        for file in ("cmdline", "environ"):
            assert not {VALUE, OTHER} & set(_words(pid, file))
    for shown in (folder.run("ps", "--json"), folder.run("graph", "app.py:app", "--format", "json"), folder.run("check", "app.py:app")):
        assert shown.returncode == 0
        assert VALUE not in shown.stdout + shown.stderr
    assert not [file for file in (folder.runtime / "motet").rglob("*") if file.is_file() and VALUE.encode() in file.read_bytes()]


def _words(pid, file):
    data = Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")
    return [value for value in (VALUE, OTHER) if value in data]


@pytest.mark.parametrize("source", ["environment", "env_file"])
def test_taken_out_of_the_environment(folder, source):
    """Those that the server has in its environment, or in a file for all, are in no other replica's, nor in its /proc."""
    file = folder.write(".env", f"REGION=eu\n{TOKEN}={VALUE}\n{PASSWORD}={OTHER}\n")
    file.chmod(0o600)
    if source == "environment":
        folder.environment |= {TOKEN: VALUE, PASSWORD: OTHER}
        server = folder.serve("app.py:app").until_ready()
    else:
        server = folder.serve("app.py:app", "--env-file", ".env").until_ready()
        assert {found["REGION"] for found in server.post("/environments").json().values()} == {"eu"}
    assert with_secrets(server) == EACH_ITS_OWN
    started = server.descendants().pids
    assert set(server.pids().values()) < set(started)  # of replicas and the gateway; and there are zygotes
    for pid in started:
        assert _words(pid, "environ") == []
        assert _words(pid, "cmdline") == []


def test_replicas_that_are_started_again(folder):
    """A replica that takes the place of a dead one has the same."""
    server = folder.serve("app.py:app", "--secrets", "secrets").until_ready()
    pid = server.post("/pids").json()["Model"]
    os.kill(pid, signal.SIGKILL)
    server.until("Model#2 ready")
    assert with_secrets(server) == EACH_ITS_OWN


def test_spawned_replicas(folder):
    """Where forking isn't safe, the same holds."""
    hazard = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    folder.write("app.py", hazard + APP)
    folder.environment |= {TOKEN: VALUE, PASSWORD: OTHER}
    server = folder.serve("app.py:app").until_ready()
    assert "spawning" in server.output
    assert with_secrets(server) == EACH_ITS_OWN


def test_logs_and_errors(folder):
    """Lines that are logged, tracebacks and what a client hears have *** instead; what a service prints is its own business."""
    server = folder.serve("app.py:app", "--secrets", "secrets").until_ready()
    server.post("/loud")
    server.until("PermissionError: ***")
    answer = server.post("/fail")
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "refused ***")
    server.until("PermissionError: refused ***")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "logged ***" in server.output
    assert "in data {'token': '***'}" in server.output
    assert VALUE not in server.output


def test_prints(folder):
    server = folder.serve("app.py:app", "--secrets", "secrets").until_ready()
    server.post("/printed")
    server.until(f"printed {VALUE}")


def test_constructor_that_fails(folder):
    folder.write("app.py", REFUSES)
    folder.environment["MOTET_TRACEBACK"] = "1"
    done = folder.run("serve", "app.py:app", "--port", "0", "--secrets", "secrets")
    assert done.returncode == 1
    assert "PermissionError: refused ***" in done.stderr
    assert VALUE not in done.stdout + done.stderr


def test_missing(folder):
    """All that are missing are named with who needs them, before anything is started."""
    Path(folder.folder, "secrets", PASSWORD).unlink()
    folder.write("other.env", "UNUSED=1\n").chmod(0o600)
    done = folder.run("serve", "app.py:app", "--port", "0", "--secrets", "other.env")
    assert done.returncode == 1
    assert f"2 secrets are missing: {TOKEN}, which Model needs; {PASSWORD}, which Store needs" in done.stderr
    assert "the file other.env" in done.stderr
    assert "ready in" not in done.stdout
    assert folder.run("serve", "app.py:app", "--secrets", "nowhere").returncode == 2
    inline = folder.run("serve", "app.py:app", "--port", "0", "--engine", "inline", "--secrets", "secrets")
    assert f"a secret is missing: {PASSWORD}, which Store needs" in inline.stderr


def test_wrong_line(folder):
    folder.write(".env", f"A=1\n{VALUE}\n").chmod(0o600)
    done = folder.run("serve", "app.py:app", "--port", "0", "--env-file", ".env")
    assert done.returncode == 1
    assert ".env:2" in done.stderr
    assert VALUE not in done.stderr


def test_reload(folder):
    """A changed secret replaces the services that name it; one that is gone changes nothing; a changed variable replaces all."""
    folder.write(".env", "REGION=eu\n").chmod(0o600)
    server = folder.serve("app.py:app", "--reload", "--secrets", "secrets", "--env-file", ".env").until_ready()
    before = server.post("/pids").json()
    secret = Path(folder.folder, "secrets", TOKEN)

    secret.write_text("another-value")
    server.until("reloaded: Model restarted")
    after = server.post("/pids").json()
    assert [name for name in before if before[name] != after[name]] == ["Model"]
    assert with_secrets(server)["Model"] == {TOKEN: "another-value"}

    secret.unlink()
    server.until(f"a secret is missing: {TOKEN}")
    server.until("not reloaded")
    assert server.post("/pids").json() == after

    secret.write_text("another-value")
    server.until("reloaded: no service has changed")
    assert server.post("/pids").json() == after

    folder.write(".env", "REGION=us\n")
    server.until("reloaded: ")
    assert {found["REGION"] for found in server.post("/environments").json().values()} == {"us"}
    assert set(server.post("/pids").json().values()).isdisjoint(after.values())


def test_check_tells_of_secrets(folder):
    """It names them, and needs none of them."""
    done = folder.run("check", "app.py:app")
    assert done.returncode == 0
    assert f"{TOKEN} (Model)" in done.stdout
    assert f"{PASSWORD} (Store)" in done.stdout


def test_inline(folder):
    """Inline says that it sets no environment variables, and redacts as well."""
    server = folder.serve("app.py:app", "--engine", "inline", "--secrets", "secrets").until_ready()
    assert "secrets as environment variables" in server.output
    assert with_secrets(server) == {"Front": {}, "Plain": {}, "Model": {}, "Store": {}}
    server.post("/loud")
    server.until("PermissionError: ***")
    assert json.dumps(server.post("/fail").json()).count("***") == 1
    assert VALUE not in server.output
