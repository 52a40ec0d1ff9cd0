"""The multilingual chat as `motet serve` serves it: each service in its own environment, with the packages of the index."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "multilingual_chat"
PHRASEBOOK = json.loads((FOLDER / "phrasebook.json").read_text(encoding="utf-8"))
BY_QUESTION = {question: entry for entry in PHRASEBOOK for question in entry["question"].values()}
HELLO, MUSIC = BY_QUESTION["Hello, how are you?"], BY_QUESTION["Do you like music?"]
MOTET = [sys.executable, "-m", "motet.cli"]


class Server(NamedTuple):
    """A server that runs, and what it printed while it started."""

    url: str
    printed: str
    pid: int
    environment: dict[str, str]

    def reply(self, text: object, history: list[Any] | None = None) -> httpx.Response:
        return httpx.post(f"{self.url}/reply", json={"text": text, "history": history or []}, timeout=30)

    def nodes(self) -> dict[str, Any]:
        """Return what `motet ps` says of each node."""
        listed = subprocess.run([*MOTET, "ps", "--json"], env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        (server,) = [server for server in json.loads(listed.stdout) if server["pid"] == self.pid]
        return {node["name"]: node for node in server["apps"][0]["nodes"]}

    def mapped(self, service: str) -> str:
        """Return which files the only replica of a service has in its memory."""
        (replica,) = self.nodes()[service]["replicas"]
        return Path(f"/proc/{replica['pid']}/maps").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "CHAT_MODELS": str(tiny_models),
        "MOTET_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
    }
    command = [*MOTET, "serve", str(FOLDER / "app.py:app"), "--port", "0", "--resources", "gpus=1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            printed: list[str] = []
            for line in process.stdout:
                printed.append(line)
                if " is served at " in line:
                    break
            else:
                raise AssertionError("".join(printed))
            yield Server(printed[-1].split()[-1], "".join(printed), process.pid, environment)
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    assert process.returncode == 0


def test_environments_are_built_before_the_readers_eyes(server: Server) -> None:
    assert "environment for Detector: lingua-language-detector==1.3.2" in server.printed
    assert "environment for ToEnglish, ToFrench: sentencepiece==" in server.printed


@pytest.mark.parametrize(("language", "why"), [("en", "Why?"), ("fr", "Pourquoi ?")])
def test_a_conversation_over_http(server: Server, language: str, why: str) -> None:
    history: list[Any] = []
    said = [(entry["question"][language], entry["answer"][language]) for entry in (HELLO, MUSIC)]
    for question, answer in [*said, (why, MUSIC["why"][language])]:
        reply = server.reply(question, history).raise_for_status().json()
        assert (reply["language"], reply["text"]) == (language, answer)
        history.append(reply["exchange"])
    assert [exchange["answer"] for exchange in history] == [HELLO["answer"]["en"], MUSIC["answer"]["en"], MUSIC["why"]["en"]]


@pytest.mark.parametrize("text", ["12345", "???"])
def test_a_text_without_a_language_is_not_taken_for_french(server: Server, text: str) -> None:
    assert server.reply(text).json()["text"] == BY_QUESTION[text]["answer"]["en"]
    spoken = {"question": HELLO["question"]["en"], "answer": HELLO["answer"]["en"], "language": "fr"}
    assert server.reply(text, [spoken]).json()["text"] == BY_QUESTION[text]["answer"]["fr"]


def test_the_curl_lines_of_the_readme_get_the_answers_that_it_shows(
    server: Server, in_the_readme: Callable[[str], list[tuple[Any, Any]]]
) -> None:
    lines = in_the_readme("/reply")
    assert len(lines) == 2
    assert [httpx.post(f"{server.url}/reply", json=sent, timeout=30).json() for sent, _ in lines] == [answer for _, answer in lines]


def test_a_long_history_is_cut(server: Server) -> None:
    hello = {"question": HELLO["question"]["en"], "answer": HELLO["answer"]["en"]}
    music = {"question": MUSIC["question"]["en"], "answer": MUSIC["answer"]["en"]}
    assert server.reply("Why?", [hello] * 900 + [music]).json()["text"] == MUSIC["why"]["en"]


@pytest.mark.parametrize(
    ("body", "at"),
    [({"text": ""}, "text"), ({"text": 3}, "text"), ({"text": "Why?", "history": "none"}, "history"), ({}, "text")],
    ids=["empty", "number", "text for a history", "missing"],
)
def test_wrong_messages_are_refused(server: Server, body: dict[str, Any], at: str) -> None:
    refused = httpx.post(f"{server.url}/reply", json=body)
    assert refused.status_code == 422
    assert [problem["at"] for problem in refused.json()["error"]["problems"]] == [at]


def test_the_client_talks_by_a_handle_and_by_http(server: Server) -> None:
    command = [sys.executable, FOLDER / "client.py", server.url]
    talk = subprocess.run(command, env=server.environment, capture_output=True, text=True, check=True, timeout=100).stdout
    assert f"  Pourquoi ?\n> {MUSIC['why']['fr']}\n" in talk
    assert talk.endswith(f"> {BY_QUESTION['My neighbours are very noisy.']['answer']['en']}\n")


def test_the_client_runs_the_app_by_itself(server: Server) -> None:
    command = [sys.executable, FOLDER / "client.py"]
    talk = subprocess.run(command, env=server.environment, capture_output=True, text=True, check=True, timeout=100).stdout
    assert talk.endswith(f"> {BY_QUESTION['???']['answer']['fr']}\n")


def test_the_chat_model_has_half_a_gpu_and_the_others_have_none_reserved(server: Server) -> None:
    placed = {name: node["replicas"][0]["placement"]["gpus"] for name, node in server.nodes().items()}
    assert placed == {"Chat": 0.5, "Detector": None, "MultilingualChat": None, "ToEnglish": None, "ToFrench": None}


def test_each_service_has_the_packages_that_it_declares(server: Server) -> None:
    own = Path(server.environment["MOTET_CACHE_DIR"]) / "environments"
    (lingua,) = own.glob("*/lib/python*/site-packages/lingua_language_detector-1.3.2.dist-info")
    assert (lingua.parent / "numpy-1.26.4.dist-info").is_dir()
    detector = server.mapped("Detector")
    assert f"{lingua.parent}/numpy/core/_multiarray_umath" in detector  # `numpy._core` in NumPy 2
    assert "numpy/_core" not in detector
    assert "lingua.cpython" not in detector  # version 2 is compiled

    chat = server.mapped("Chat")
    assert "numpy/_core/_multiarray_umath" in chat
    assert "numpy/core" not in chat
    assert str(own) not in chat

    (pieces,) = own.glob("*/lib/python*/site-packages/sentencepiece-0.2.1.dist-info")
    for name in ("ToEnglish", "ToFrench"):
        translator = server.mapped(name)
        assert f"{pieces.parent}/sentencepiece/_sentencepiece" in translator
        assert "numpy/_core/_multiarray_umath" in translator
        assert str(lingua.parent) not in translator
