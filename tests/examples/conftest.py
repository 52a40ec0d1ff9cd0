"""What the tests of examples share."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHAT = Path(__file__).resolve().parents[2] / "examples" / "multilingual_chat"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models that the multilingual chat is tried with, made by its own script, once."""
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run([sys.executable, CHAT / "make_tiny_models.py", folder], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def in_the_readme() -> Callable[[str], list[tuple[Any, Any]]]:
    """What the page of the multilingual chat sends to an endpoint with curl, and the answers that it shows."""
    page = (CHAT / "README.md").read_text(encoding="utf-8")

    def shown(endpoint: str) -> list[tuple[Any, Any]]:
        found = re.findall(
            rf"^\$ curl localhost:8000{endpoint} [^']*'content-type: application/json' -d '([^']*)'\n(.*)$", page, re.MULTILINE
        )
        return [(json.loads(sent), json.loads(answer)) for sent, answer in found]

    return shown
