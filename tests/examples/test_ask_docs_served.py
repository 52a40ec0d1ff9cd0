"""The demo as `make demo` serves it: real models, real processes, HTTP."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
SERVE = [str(Path(sys.executable).with_name("motet")), "serve", "examples/ask_docs/app.py:app", "--port", "0"]


def test_the_curl_line_that_is_printed_gets_an_answer() -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(SERVE, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        try:
            printed: list[str] = []
            for line in server.stdout:
                printed.append(line.strip())
                if line.strip().startswith("curl "):
                    break
            else:
                raise AssertionError("\n".join(printed))
            _, url, _, header, _, body = shlex.split(printed[-1])

            answer = httpx.post(url, content=body, headers=[tuple(header.split(": "))], timeout=30)
            assert answer.status_code == 200
            assert answer.json()["language"] == "en"
            assert [set(passage) for passage in answer.json()["passages"]] == [{"file", "heading", "score", "text"}] * 3
            assert answer.json()["passages"][0]["heading"] == "Concurrency: how many requests a replica runs at once"

            refused = httpx.post(url, json={"text": 3})
            assert refused.status_code == 422
            assert refused.json()["error"]["problems"] == [{"at": "text", "problem": "Input should be a valid string", "found": "3"}]
        finally:
            server.send_signal(signal.SIGINT)
            server.stdout.read()
    assert server.returncode == 0
