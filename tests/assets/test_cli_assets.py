"""`motet assets`: fetched ahead, listed, thrown away. And `motet serve` shows what it is waiting for, and can be interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from motet.assets import store
from motet.testing import PATIENCE

APP = """
import motet

class Search(motet.Service):
    def __init__(self, context: motet.Context = motet.injected) -> None:
        self.paths = {text: str(path) for text, path in context.assets.items()}

    @motet.endpoint
    def ask(self) -> dict[str, str]:
        return self.paths

app = Search.bind().options(assets=motet.Assets(data=["%s", "app.py"]))
wrong = Search.bind().options(assets=motet.Assets(data=["nothing"]))
plain = Search.bind()
"""


@pytest.fixture
def folder(tmp_path, files, cache):
    """A folder with an app that wants a file of the server."""
    files.add("/words.txt", b"words")
    (tmp_path / "app.py").write_text(APP % files.url("/words.txt"))
    return tmp_path


def motet(folder, *arguments):
    command = [sys.executable, "-m", "motet.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_fetch_list_prune(folder, files):
    url = files.url("/words.txt")
    done = motet(folder, "assets", "fetch", "app.py:app")
    assert (done.returncode, len(files.requests)) == (0, 1)
    assert f"Search: {url}: fetching, 0 B of 5 B" in done.stderr
    assert "Search: app.py" in done.stdout
    (listed,) = json.loads(motet(folder, "assets", "list", "--json").stdout)
    assert (listed["url"], listed["size"] > 5, listed["pinned"]) == (url, True, False)
    assert f"Search: {url} is " in done.stdout
    lines = motet(folder, "assets", "list").stdout.splitlines()
    assert lines[0].split() == ["SIZE", "USED", "CHECKSUM", "URL"]
    assert lines[1].endswith(url)
    assert motet(folder, "assets", "prune").stdout == "0 B thrown away\n"
    with store.hold(Path(listed["file"])):
        (used,) = json.loads(motet(folder, "assets", "list", "--json").stdout)
        assert (listed["in_use"], used["in_use"]) == (False, True)
        assert motet(folder, "assets", "prune", "--all").stdout == "0 B thrown away; 1 file in use\n"
    assert "B thrown away" in motet(folder, "assets", "prune", "--all").stdout
    assert "No file is kept" in motet(folder, "assets", "list").stdout
    assert motet(folder, "assets", "prune", "--older-than", "soon").returncode == 2


def test_nothing_to_fetch(folder):
    done = motet(folder, "assets", "fetch", "app.py:plain")
    assert (done.returncode, done.stdout) == (0, "No service declares models or data.\n")
    done = motet(folder, "assets", "fetch", "app.py:wrong")
    assert done.returncode == 1
    assert "Search: the asset nothing doesn't exist" in done.stderr


def test_token(folder, hub):
    """The hub's token comes from where the secrets of a server come from."""
    hub.add("org/private", {"config.json": b"{}"}, token="s3cret")
    text = APP.replace('"app.py"], ', "").replace('data=["%s", "app.py"]', 'models=["org/private"], secrets=["HF_TOKEN", "OTHER"]')
    (folder / "private.py").write_text(text)
    (folder / "keys.env").write_text("HF_TOKEN=s3cret\n")
    (folder / "keys.env").chmod(0o600)
    assert "HF_TOKEN" in motet(folder, "assets", "fetch", "private.py:app").stderr
    done = motet(folder, "assets", "fetch", "private.py:app", "--secrets", "keys.env")
    assert (done.returncode, "org/private is" in done.stdout) == (0, True), done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_check_fetches_nothing(folder, files):
    assert motet(folder, "check", "app.py:wrong").returncode == 0
    assert motet(folder, "check", "app.py:app").returncode == 0
    assert files.requests == []
    (folder / "bad.py").write_text(APP.replace("app.py", "https://host/x#sha256=12") % "ftp://host/x")
    done = motet(folder, "check", "bad.py:app")
    assert done.returncode == 1
    assert "option `data`: 'ftp://host/x' can't be fetched" in done.stderr


def test_interrupted_start(folder, files):
    """Ctrl-C while something is fetched ends everything at once; the next start goes on from there."""
    file = files.add("/words.txt", bytes(10**6), hold=10**5)
    command = [sys.executable, "-m", "motet.cli", "serve", "app.py:app", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = next(line for line in server.stdout if "fetching" in line)
    assert f"Search: {files.url('/words.txt')}: fetching, 0 B of 977 KiB" in line
    partial = store.folder_of(files.url("/words.txt"), None) / store.PARTIAL
    while not partial.stat().st_size:
        pass  # until the first bytes are there
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=PATIENCE)
    assert server.returncode == 130
    file.release.set()
    assert motet(folder, "assets", "fetch", "app.py:app").returncode == 0
    assert files.headers_of("/words.txt")[1]["range"].startswith("bytes=")
