"""Services that the cases are about: each way to write an endpoint, and each way to ask for a dependency."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

import motet

Vector = NDArray[np.float32]


class Question(BaseModel):
    text: str
    top: int = 3


class Passage(BaseModel):
    text: str
    score: float


class Found(BaseModel):
    language: str
    passages: list[Passage]


class Kinds(motet.Service):
    """One endpoint of each kind."""

    @motet.endpoint
    def plain(self, x: int, *, by: int = 1) -> int:
        return x + by

    @motet.endpoint
    async def asynchronous(self, x: int) -> int:
        return x

    @motet.endpoint
    def nothing(self) -> None: ...

    @motet.endpoint
    def maybe(self, text: str) -> str | None:
        return text or None

    @motet.endpoint
    async def maybe_many(self, text: str) -> list[str] | None:
        return [text]

    @motet.endpoint
    def iterate(self, n: int) -> Iterator[int]:
        yield from range(n)

    @motet.endpoint
    def generate(self, n: int) -> Generator[int]:
        yield from range(n)

    @motet.endpoint
    async def iterate_async(self, n: int) -> AsyncIterator[str]:
        yield str(n)

    @motet.endpoint
    async def generate_async(self, n: int) -> AsyncGenerator[str]:
        yield str(n)

    @motet.endpoint(timeout=7)
    def with_timeout(self, x: int) -> str:
        return str(x)

    @motet.endpoint(timeout=None, idempotent=True)
    async def without_limit(self, x: int) -> str:
        return str(x)

    @motet.endpoint(timeout=7)
    async def stream_with_timeout(self, n: int) -> AsyncIterator[int]:
        yield n

    @motet.endpoint()
    def with_empty_parentheses(self, x: int) -> str:
        return str(x)

    @motet.endpoint
    def __call__(self, question: Question) -> Found:
        return Found(language=question.text, passages=[])

    def helper(self, x: int) -> int:
        """Plain methods stay what they are."""
        return x


class More(Kinds):
    """Overrides with the same type, and another kind of body where the caller can't tell."""

    @motet.endpoint
    def plain(self, x: int, *, by: int = 2) -> int:
        return x * by

    @motet.endpoint
    def asynchronous(self, x: int) -> int:
        return x

    @motet.endpoint
    async def iterate(self, n: int) -> AsyncIterator[int]:
        yield n

    @motet.endpoint
    def added(self, x: int) -> float:
        return float(x)


class Batches(motet.Service):
    """One batched endpoint of each kind; arrays as items."""

    @motet.batched
    def bare(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @motet.batched(max_size=32, max_wait=0.005)
    def embed(self, texts: list[str]) -> list[Vector]:
        return [np.zeros(3, np.float32) for _ in texts]

    @motet.batched(timeout=3, idempotent=True)
    async def embed_async(self, texts: list[str]) -> list[Vector]:
        return [np.zeros(3, np.float32) for _ in texts]

    @motet.batched(max_size=4)
    def some_fail(self, texts: list[str]) -> list[int | motet.Failed]:
        return [len(text) if text else motet.Failed(ValueError("empty")) for text in texts]

    @motet.batched
    async def some_fail_async(self, texts: list[str]) -> list[int | motet.Failed]:
        return [motet.Failed(ValueError(text)) for text in texts]

    @motet.batched
    def maybe(self, texts: list[str]) -> list[str | None]:
        return [text or None for text in texts]

    @motet.batched
    def questions(self, questions: list[Question]) -> list[Found]:
        return [Found(language=question.text, passages=[]) for question in questions]


class Detector(motet.Service):
    def __init__(self, languages: list[str], *, threshold: float = 0.5) -> None:
        self.languages = languages
        self.threshold = threshold

    @motet.endpoint
    def language(self, text: str) -> str:
        return text


class Index(motet.Service):
    def __init__(self, path: str, context: motet.Context = motet.injected) -> None:
        self.path = context.data_dir / path

    @motet.endpoint
    def nearest(self, vector: Vector, top: int) -> list[Passage]:
        return [Passage(text=str(vector), score=top)]

    @motet.endpoint
    def of_all(self, vectors: list[Vector]) -> list[Passage]:
        return [Passage(text=str(vector), score=0) for vector in vectors]


class Detects(Protocol):
    """What any detector of languages offers."""

    def language(self, text: str) -> motet.Call[str]: ...


class Counts(Protocol):
    """What `Kinds` offers, among others."""

    def iterate(self, n: int) -> motet.Stream[int]: ...


class Search(motet.Service):
    """A root with dependencies of every kind, handed in by `bind`."""

    config = motet.Config(resources=motet.Resources(cpus=1), replicas=motet.Autoscale(1, 4), idempotent=True)

    def __init__(
        self,
        detector: Detects,
        embedder: Batches,
        index: Index,
        *,
        kinds: Sequence[Kinds] = (),
        named: dict[str, Kinds] | None = None,
        counter: Counts | None = None,
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.index = index
        self.kinds = kinds
        self.named = named
        self.counter = counter

    @motet.endpoint
    async def ask(self, question: Question) -> Found:
        vector = self.embedder.embed(question.text)
        found = self.index.nearest(vector.ref, question.top)
        return Found(language=await self.detector.language(question.text), passages=await found)


class WithDefaults(motet.Service):
    """Edges of the graph as defaults of the constructor."""

    def __init__(
        self,
        detector: Detector = motet.depends(Detector.bind(["en"]), timeout=2, retries=1),
        counter: Counts = motet.depends(Kinds.bind()),
        context: motet.Context = motet.injected,
    ) -> None:
        self.detector = detector
        self.counter = counter
        self.replica = context.replica

    @motet.endpoint
    def language(self, text: str) -> str:
        return self.detector.language(text).result()


class WithoutConstructor(motet.Service):
    @motet.endpoint
    def ready(self) -> bool:
        return True
