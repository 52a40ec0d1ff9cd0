"""Where the cache is, and what is no place for one."""

import os
from pathlib import Path

import pytest

from motet.caching import cache_folder, home_folder
from motet.cli.errors import explain
from motet.errors import StartError


def test_where(tmp_path, monkeypatch):
    """The folders are made, for nobody else."""
    monkeypatch.delenv("MOTET_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("assets") == tmp_path / ".cache" / "motet" / "assets"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("assets") == tmp_path / "xdg" / "motet" / "assets"
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "own"))
    folder = cache_folder("assets")
    assert folder == tmp_path / "own" / "assets"
    assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (0o700, 0o700)


@pytest.mark.parametrize("mode", [0o770, 0o707])
@pytest.mark.parametrize("which", ["cache", "cache/assets"])
def test_others_may_write(tmp_path, monkeypatch, mode, which):
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache" / "assets").mkdir(parents=True)
    (tmp_path / which).chmod(mode)
    with pytest.raises(StartError, match=f"(?s)isn't safe to use.*mode {mode:o}"):
        cache_folder("assets")


def test_no_folder(tmp_path, monkeypatch):
    """What is said is what to do, without frames of Python's library."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StartError, match="can't be used") as caught:
        cache_folder("assets")
    text = explain(caught.value)
    assert "found:   File exists" in text
    assert "MOTET_CACHE_DIR" in text
    assert "pathlib" not in text


def test_a_user_without_a_home(monkeypatch):
    """As in a container that runs under an id which nobody has."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert home_folder() == Path("/")
