"""Where an asset comes from, as a service declares it: a local path, a URL, or a name on a model hub. Only texts; nothing is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["model", "data"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://(.*)", re.DOTALL).fullmatch
_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})").fullmatch
_HUB_NAME = re.compile(r"(?:[A-Za-z0-9][\w.\-]*/)?[A-Za-z0-9][\w.\-]*(?:@[\w./\-]+)?", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file or folder of this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file behind a URL, which has no fragment; `sha256` is what its content must have, in lower case, or None."""

    url: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubSource:
    """A model on the hub: its name, and a branch, tag or commit; None for the main branch."""

    name: str
    revision: str | None


def checked_source(text: str) -> str:
    """Return a source as it was declared, if it can be one.

    Raises:
        ValueError: it is empty, or a URL that is none, or with a checksum that is none.
    """
    if not text or text != text.strip() or not text.isprintable():
        message = f"{text!r} is neither a path, nor a URL, nor a name on the hub; write 'org/name', 'models/mine' or 'https://host/file'"
        raise ValueError(message)
    if (url := _URL(text)) is None:
        return text
    place, hash_sign, fragment = text.partition("#")
    if url.group(1).lower() not in ("http", "https"):
        message = f"{place!r} can't be fetched; write a URL of https or http"
        raise ValueError(message)
    authority = re.split(r"[/?#]", url.group(2), maxsplit=1)[0]
    if not authority or "@" in authority:
        found = "has no host" if not authority else "has a name or password in it, which would show in logs"
        message = f"a URL {found}; write 'https://host/file'"
        raise ValueError(message)
    if hash_sign and _SHA256(fragment) is None:
        message = f"{fragment!r} is no checksum; write '{place}#sha256=' and 64 hexadecimal digits, which `sha256sum FILE` tells"
        raise ValueError(message)
    return text


def parse_source(text: str, kind: Kind, folder: Path) -> LocalSource | UrlSource | HubSource:
    """Return where an asset comes from; a folder or file that exists wins over a name on the hub.

    Args:
        text: as declared, checked.
        kind: whether it is a model, which may be on the hub, or data.
        folder: what relative paths are relative to.
    """
    if _URL(text) is not None:
        url, _, fragment = text.partition("#")
        return UrlSource(url, fragment.partition("=")[2].lower() or None)
    path = folder / Path(text).expanduser()
    if kind == "data" or path.exists() or _HUB_NAME(text) is None:
        return LocalSource(path)
    name, _, revision = text.partition("@")
    return HubSource(name, revision or None)


def shown(url: object) -> str:
    """Return a URL as messages show it: signatures in queries, names, passwords and fragments are nobody's business."""
    text = str(url).partition("#")[0]
    text, question, _ = text.partition("?")
    scheme, separator, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}" if separator else text
    return text[:500] + ("?..." if question else "")
