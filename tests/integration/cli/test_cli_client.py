"""`motet client`: from a file, from a server, and what is said when neither works."""

import subprocess
import sys

import pytest

APP = """
import motet

class Shop(motet.Service):
    @motet.endpoint
    def double(self, number: int) -> int:
        return number * 2

app = Shop.bind()
"""

USE = """
import sys
from client import ApiError, Shop
with Shop(sys.argv[1], api_key=sys.argv[2]) as shop:
    print(shop.double(21))
try:
    Shop(sys.argv[1], api_key="wrong").double(1)
except ApiError as error:
    print(error.status, error.type)
"""


@pytest.fixture
def app(program):
    program.write("app.py", APP)
    return program


@pytest.mark.parametrize("name", ["client.py", "client.ts"])
def test_client_of_a_file(app, name):
    """The file is written, and what it needs is said."""
    done = app.run("client", "app.py:app", "--out", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {name}, which needs ")
    text = (app.folder / name).read_text()
    assert "motet client app.py:app" in text
    assert "class Shop" in text


def test_client_of_a_server(app):
    """The URL may be that of an app's route; the client that comes of it calls the server."""
    server = app.serve("app.py:app", "--route", "/shop", "--api-key", "secret", "--engine", "inline").until_ready()
    done = app.run("client", f"{server.url}/shop", "--out", "client.py", "--api-key", "secret")
    assert done.returncode == 0, done.stderr
    script = app.write("use.py", USE)
    used = subprocess.run([sys.executable, script, f"{server.url}/shop", "secret"], capture_output=True, text=True, check=False)
    assert (used.stdout.split("\n")[:2], used.stderr) == (["42", "401 Unauthorized"], "")
    refused = app.run("client", server.url, "--out", "other.py")
    assert "the API key is missing or wrong" in refused.stderr
    nothing = app.run("client", f"{server.url}/nope", "--out", "other.py", "--api-key", "secret")
    assert "/shop/double" in nothing.stderr
    assert not (app.folder / "other.py").exists()


def test_client_of_nothing(app):
    """Each error says what to do."""
    assert "client.py" not in app.run("client", "app.py:app", "--out", "client.rs").stderr
    assert ".py or .ts" in app.run("client", "app.py:app", "--out", "client.rs").stderr
    assert "motet ps shows what runs" in app.run("client", "http://127.0.0.1:9", "--out", "client.py").stderr
    assert "can't be written" in app.run("client", "app.py:app", "--out", "no/such/client.py").stderr
    assert app.run("client", "app.py:app").returncode == 2
