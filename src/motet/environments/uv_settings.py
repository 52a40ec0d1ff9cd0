"""The settings of pip that the user has made, in uv's words: it doesn't read them itself."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from motet.caching import home_folder
from motet.environments.settings import UV_DECISIVE, installer_environment, pip_settings

_INDEXES = frozenset({"index", "index-url", "extra-index-url", "find-links", "no-index"})


def _is_set(settings: Mapping[str, str], name: str) -> bool:
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
        if _is_set(pip, "no-index"):
            variables["UV_NO_INDEX"] = "1"
    _set(variables, "SSL_CERT_FILE", pip.get("cert"))
    _set(variables, "SSL_CLIENT_CERT", pip.get("client-cert"))
    _set(variables, "UV_INSECURE_HOST", " ".join(pip.get("trusted-host", "").split()))
    _set(variables, "UV_HTTP_TIMEOUT", pip.get("timeout", pip.get("default-timeout")))
    _set(variables, "UV_CONSTRAINT", " ".join(pip.get("constraint", "").split()))
    _set(variables, "ALL_PROXY", pip.get("proxy"))
    if _is_set(pip, "no-build-isolation") or pip.get("no-build-isolation", "").lower() in ("0", "false", "no", "off"):
        _set(variables, "UV_NO_BUILD_ISOLATION", "1")  # pip's variable of this name means the same with either value
    if _is_set(pip, "pre"):
        _set(variables, "UV_PRERELEASE", "allow")
    return variables


def _set(variables: dict[str, str], name: str, value: str | None) -> None:
    if value and not variables.get(name):
        variables[name] = value


def _chooses_index(variables: Mapping[str, str]) -> bool:
    """Whether the user has told uv where to look."""
    if any(variables.get(name) for name in UV_DECISIVE[:6]):
        return True
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home_folder() / ".config")
    named = variables.get("UV_CONFIG_FILE")
    for path in [Path(named)] if named else [config / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none; or broken, which uv says
            continue
        if _INDEXES & {*content, *content.get("pip", {})}:
            return True
    return False
