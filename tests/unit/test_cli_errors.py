"""What errors look like on a terminal: paths made short, and what to do when something has run out."""

import errno

import pytest

from motet.cli.errors import explain, relative
from motet.errors import StartError


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("{}/app.py:3", "app.py:3"),
        ("in ({}/app.py), '{}/b'", "in (app.py), 'b'"),
        ("/mnt{}/app.py", "/mnt{}/app.py"),
        ("/mnt/{}/app.py", "/mnt/{}/app.py"),
        ("{}er/app.py", "{}er/app.py"),
        ("https://host{}/app.py", "https://host{}/app.py"),
    ],
)
def test_paths_in_the_current_folder_are_short(tmp_path, monkeypatch, text, short):
    """Those elsewhere stay whole, also where the current folder's path is a part of theirs."""
    monkeypatch.chdir(tmp_path)
    assert relative(text.replace("{}", str(tmp_path))) == short.replace("{}", str(tmp_path))
    assert relative(str(StartError("m", where=f"{tmp_path}/a"))).endswith("where: a")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(number):
    text = explain(OSError(number, "full"))
    assert "MOTET_CACHE_DIR" in text
    assert "MOTET_RUNTIME_DIR" in text
