"""The settings of pip that the user has made, for uv too, which doesn't read them."""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

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
_UV_INDEXES = frozenset({"index", "index-url", "extra-index-url", "find-links", "no-index"})
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
    home = Path.home()
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


def is_set(settings: Mapping[str, str], name: str) -> bool:
    """Whether a switch of pip's is on."""
    return settings.get(name, "").strip().lower() in ("1", "true", "yes", "on", "y", "t")


def uv_environment() -> dict[str, str]:
    """Return an installer's environment variables in which pip's settings are uv's, except where the user has set uv's own."""
    pip, variables = pip_settings(), installer_environment()
    if not _chooses_index(variables):
        variables["UV_INDEX_STRATEGY"] = variables.get("UV_INDEX_STRATEGY", "unsafe-best-match")  # the best of all indexes, as for pip
        _set(variables, "UV_DEFAULT_INDEX", pip.get("index-url"))
        _set(variables, "UV_EXTRA_INDEX_URL", " ".join(pip.get("extra-index-url", "").split()))
        _set(variables, "UV_FIND_LINKS", ",".join(pip.get("find-links", "").split()))
        if is_set(pip, "no-index"):
            variables["UV_NO_INDEX"] = "1"
    _set(variables, "SSL_CERT_FILE", pip.get("cert"))
    _set(variables, "SSL_CLIENT_CERT", pip.get("client-cert"))
    _set(variables, "UV_INSECURE_HOST", " ".join(pip.get("trusted-host", "").split()))
    _set(variables, "UV_HTTP_TIMEOUT", pip.get("timeout", pip.get("default-timeout")))
    _set(variables, "UV_CONSTRAINT", " ".join(pip.get("constraint", "").split()))
    _set(variables, "ALL_PROXY", pip.get("proxy"))
    if is_set(pip, "pre"):
        _set(variables, "UV_PRERELEASE", "allow")
    return variables


def _set(variables: dict[str, str], name: str, value: str | None) -> None:
    if value and not variables.get(name):
        variables[name] = value


def _chooses_index(variables: Mapping[str, str]) -> bool:
    """Whether the user has told uv where to look."""
    if any(variables.get(name) for name in UV_DECISIVE[:6]):
        return True
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    named = variables.get("UV_CONFIG_FILE")
    for path in [Path(named)] if named else [config / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none; or broken, which uv says
            continue
        if _UV_INDEXES & {*content, *content.get("pip", {})}:
            return True
    return False
