"""A front end of classes with one typed `run_remote` and `depends(Other)` as defaults of the constructor."""

from typing import Any

import motet


class Link:
    """Base of such classes; each gets a service that is the class and whose endpoint is its `run_remote`."""

    service: Any = None

    def __init_subclass__(cls) -> None:
        if motet.Service not in cls.__mro__:
            # The qualified name is where other processes find the service.
            body = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.service"}
            cls.service = type(cls.__name__, (cls, motet.Service), {**body, "run_remote": motet.endpoint(vars(cls)["run_remote"])})


def depends(cls: type[Link], *, timeout: float | None = None) -> Any:
    """Name a dependency; it takes no arguments but dependencies of its own."""
    return motet.depends(cls.service.bind(), timeout=timeout)


class Words(Link):
    def run_remote(self, text: str) -> list[str]:
        return text.split()


class Shouter(Link):
    async def run_remote(self, word: str) -> str:
        return word.upper()


class Entry(Link):
    def __init__(self, words: Words = depends(Words), shouter: Shouter = depends(Shouter, timeout=5)) -> None:  # noqa: B008
        self.words: Any = words
        self.shouter: Any = shouter

    async def run_remote(self, text: str) -> str:
        return " ".join([await self.shouter.run_remote(word) for word in await self.words.run_remote(text)])
