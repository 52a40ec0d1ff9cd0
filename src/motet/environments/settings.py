"""The settings that the user has made for pip and uv, as far as they decide what is installed."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from motet.caching import home_folder

# Settings that decide what is installed.
DECISIVE = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "pre",
    "constraint",
    "no-binary",
    "only-binary",
    "prefer-binary",
    "no-build-isolation",
    "require-hashes",
)
UV_DECISIVE = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_PRERELEASE",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_EXCLUDE_NEWER",
    "UV_CONFIG_FILE",
)
# Would change where an installer installs, or what.
_MISLEADING = (
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "MOTET_API_KEY"),
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_EDITABLE", "PIP_PYTHON", "PIP_UPGRADE", "PIP_IGNORE_INSTALLED"),
    *("PIP_NO_DEPS", "PIP_QUIET", "PIP_VERBOSE", "PIP_DRY_RUN", "PIP_REPORT", "PIP_REQUIRE_VIRTUALENV", "PIP_FORCE_REINSTALL"),
    *("PIP_PLATFORM", "PIP_ABI", "PIP_PYTHON_VERSION", "PIP_IMPLEMENTATION"),
    *("UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_BREAK_SYSTEM_PACKAGES", "UV_REQUIRE_HASHES", "UV_NO_PROGRESS", "UV_PROJECT_ENVIRONMENT"),
)


def pip_settings() -> dict[str, str]:
    """Return the settings that `pip install` would use: of its configuration files and of `PIP_*` variables, which go first."""
    found: dict[str, str] = {}
    parser = configparser.RawConfigParser(strict=False)
    if os.environ.get("PIP_CONFIG_FILE") != os.devnull:
        parser.read([str(path) for path in _pip_files()], encoding="utf-8")
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update({_key(name): value for name, value in parser.items(section)})
    found.update({_key(name[4:]): value for name, value in os.environ.items() if name.startswith("PIP_") and value})
    return found


def _key(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _pip_files() -> Iterator[Path]:
    """Return where pip looks for configuration, the most important last."""
    home = home_folder()
    for folder in reversed(os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(sys.prefix, "pip.conf")
    if named := os.environ.get("PIP_CONFIG_FILE"):
        yield Path(named)


def decisive_settings() -> list[str]:
    """Return what decides which files an installer finds, ready for a digest."""
    pip = pip_settings()
    lines = [f"{name}={pip[name]}" for name in DECISIVE if name in pip]
    lines += [f"{name}={os.environ[name]}" for name in UV_DECISIVE if name in os.environ]
    for path in [*pip.get("constraint", "").split(), *os.environ.get("UV_CONSTRAINT", "").split()]:
        try:
            lines.append(Path(path).read_text(encoding="utf-8"))
        except OSError:  # a URL; or missing, which the installer says
            lines.append(path)
    return lines


def installer_environment() -> dict[str, str]:
    """Return the environment variables of an installer: this process's, without those that would lead it elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return {**kept, "PIP_USER": "0", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
