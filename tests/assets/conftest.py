"""A server of files, and a cache of the test's own."""

import pytest
from file_server import FileServer
from hub_server import HubServer


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def files():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def other_files():
    """A second server, so another origin."""
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache folder; servers of this machine may be fetched from."""
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MOTET_FETCH_ALLOW", "127.0.0.1")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "cache"


@pytest.fixture
def hub(cache, monkeypatch):
    """A hub, which is the one that is asked."""
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()
