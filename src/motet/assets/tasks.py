"""What the process that fetches is told, and what it tells: data, one JSON text a line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from motet.caching import cache_folder


class UrlTask(msgspec.Struct, frozen=True, tag="url"):
    """Have the file behind a URL in the cache."""

    url: str
    sha256: str | None


class HubTask(msgspec.Struct, frozen=True, tag="hub"):
    """Have a model in the hub's cache.

    Attributes:
        name: on the hub.
        revision: branch, tag or commit; None for the main branch.
        cache: folder of the hub's cache; None for the usual one.
        endpoint: URL of the hub; None for the usual one.
        offline: whether only the cache may be used.
        token: who asks.
    """

    name: str
    revision: str | None = None
    cache: str | None = None
    endpoint: str | None = None
    offline: bool = False
    token: str | None = None

    def __repr__(self) -> str:
        return f"HubTask({self.name!r}, {self.revision!r})"  # not the token

    def marker(self) -> Path:
        """Return the file that says where a commit of the model is, once it is there as a whole."""
        text = "\n".join((self.name, self.revision or "", self.cache or "", self.endpoint or ""))
        return cache_folder("assets") / "hub" / hashlib.sha256(text.encode()).hexdigest()[:32]


Task = UrlTask | HubTask


class Order(msgspec.Struct, frozen=True):
    """All that is to be fetched."""

    tasks: tuple[Task, ...]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far a task is: bytes of all bytes, if that is known."""

    task: int
    done: int
    total: int | None


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something that a person should know."""

    task: int
    text: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Where an asset is, and how many bytes were fetched for that."""

    task: int
    path: str
    fetched: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why an asset can't be had."""

    task: int
    message: str
    where: str | None = None
    found: str | None = None
    instead: str | None = None


Told = Progress | Note | Ready | Failed
