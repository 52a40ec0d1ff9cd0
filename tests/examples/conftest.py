"""What the tests of examples share."""

import subprocess
import sys
from pathlib import Path

import pytest

CHAT = Path(__file__).resolve().parents[2] / "examples" / "multilingual_chat"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models that the multilingual chat is tried with, made by its own script, once."""
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run([sys.executable, CHAT / "make_tiny_models.py", folder], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder
