"""Models and data are in place before a service is constructed, on every engine."""

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

import motet

pytestmark = pytest.mark.anyio
HERE = Path(__file__)


class Reader(motet.Service):
    """Has read its assets when it can be called."""

    def __init__(self, context: motet.Context = motet.injected) -> None:
        self.read = {text: path.read_text().split("\n", 1)[0] if path.is_file() else "" for text, path in context.assets.items()}
        self.paths = {text: str(path) for text, path in context.assets.items()}

    @motet.endpoint
    def firsts(self) -> dict[str, str]:
        return self.read

    @motet.endpoint
    def places(self) -> dict[str, str]:
        return self.paths


class Plain(motet.Service):
    def __init__(self, reader: Reader, context: motet.Context = motet.injected) -> None:
        self.reader = reader
        self.assets = dict(context.assets)

    @motet.endpoint
    def count(self) -> int:
        return len(self.assets)


def with_assets(**declared):
    return Reader.bind().options(assets=motet.Assets(**declared))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that is served over HTTP, and a cache of the test's own; returns the folder and its URL."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MOTET_FETCH_ALLOW", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_local_paths(start, tmp_path, monkeypatch):
    """Relative ones are relative to the file that defines the service, wherever the program is started."""
    monkeypatch.chdir(tmp_path)
    reader = await start(with_assets(models=["spikes"], data=[HERE.name, str(HERE)]))
    assert await reader.places() == {"spikes": str(HERE.parent / "spikes"), HERE.name: str(HERE), str(HERE): str(HERE)}
    assert (await reader.firsts())[HERE.name].startswith('"""Models and data')


async def test_urls(start, served):
    folder, url = served
    (folder / "words.txt").write_text("one\ntwo")
    declared = f"{url}/words.txt#sha256=" + hashlib.sha256(b"one\ntwo").hexdigest()
    reader = await start(with_assets(data=[declared]))
    assert await reader.firsts() == {declared: "one", f"{url}/words.txt": "one"}
    plain = await start(Plain.bind(with_assets(data=[f"{url}/words.txt"])))
    assert await plain.count() == 0  # only who declares an asset is told of it


async def test_missing(running):
    """What isn't there is told with the service and the place, and nothing is left running."""
    app = with_assets(data=["nothing.csv"])
    with pytest.raises(motet.StartError, match=r"(?s)Reader: the asset nothing\.csv doesn't exist.*test_assets\.py.*nothing\.csv"):
        await running(app, name="missing")
    async with running(with_assets(data=[HERE.name]), name="missing") as reader:
        assert await reader.firsts()


async def test_refused(running, served, monkeypatch):
    folder, url = served
    (folder / "a").write_text("a")
    monkeypatch.delenv("MOTET_FETCH_ALLOW")
    with pytest.raises(motet.StartError, match=r"(?s)Reader: the asset http://.*isn't a public one.*MOTET_FETCH_ALLOW"):
        await running(with_assets(data=[f"{url}/a"]))
