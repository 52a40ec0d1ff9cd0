"""Uses that both checkers have to reject.

Each wrong line says what mypy and what pyright find in it. Both report a comment that silences nothing, so a mistake that one
of them no longer sees fails the check.
"""

# What follows from a mistake isn't the mistake:
# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import motet
from services import Batches, Counts, Detector, Index, Kinds, Question, Search

app = Search.bind(Detector.bind(["en"]), Batches.bind(), Index.bind("faq.jsonl"))


# -- calling ------------------------------------------------------------------------------------------------------------


class Shares(motet.Service):
    @motet.endpoint
    def turned(self, vector: motet.Shared[bytes]) -> motet.Shared[bytes]:
        return vector


def arguments(kinds: Kinds, batches: Batches, search: Search, shares: Shares) -> None:
    kinds.plain("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kinds.plain()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kinds.plain(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kinds.plain(1, unknown=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kinds.unknown(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    kinds.iterate("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kinds.with_timeout("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kinds("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    search.ask("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    batches.embed(["x"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    batches.embed("x", "y")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    shares.turned("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    batches.some_fail(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def results(kinds: Kinds, batches: Batches) -> None:
    _text: str = await kinds.plain(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _number: int = await kinds.maybe_many("x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _failed: motet.Failed = await batches.some_fail("x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _first, _second, _third = await asyncio.gather(kinds.plain(1), kinds.plain(2))  # type: ignore[misc]  # pyright: ignore[reportAssignmentType]
    _texts: list[str] = await asyncio.gather(*[kinds.plain(x) for x in range(3)])  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _waited: str = await asyncio.wait_for(kinds.plain(1), timeout=1)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]


def results_sync(kinds: Kinds) -> None:
    _text: str = kinds.plain(1).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    kinds.plain(1).result(timeout="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _call: motet.Call[str] = kinds.plain(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def forgotten_await(kinds: Kinds) -> None:
    kinds.plain(1) + 1  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    kinds.maybe_many("x")[0]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    _number: int = kinds.plain(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    for _ in kinds.maybe_many("x"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    async for _ in kinds.plain(1):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


def forwarding(batches: Batches, index: Index, detector: Detector) -> None:
    index.nearest(batches.embed("x"), 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    index.nearest(detector.language("x").ref, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    index.of_all([batches.embed("x")])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Question(text=detector.language("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _text: str = batches.embed("x").ref  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def streams(kinds: Kinds) -> None:
    await kinds.iterate(3)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    kinds.iterate(3).result()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    async for _text in kinds.iterate(3):
        _text.upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    for _number in kinds.iterate_async(3):
        _number + 1  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    _stream: motet.Stream[str] = kinds.iterate(3)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# -- writing endpoints --------------------------------------------------------------------------------------------------


class Endpoints(motet.Service):
    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds

    @motet.endpoint(timeout="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    def wrong_timeout(self) -> None: ...

    @motet.endpoint(retries=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    def unknown_option(self) -> None: ...

    @motet.endpoint(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    def positional_option(self) -> None: ...

    @motet.endpoint
    async def relayed(self, n: int) -> AsyncIterator[str]:
        async for number in self.kinds.iterate(n):
            yield number  # type: ignore[misc]  # pyright: ignore[reportReturnType]

    @motet.endpoint
    async def own(self) -> str:
        return await self.kinds.plain(1)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @motet.endpoint
    def unawaited(self) -> int:
        return self.kinds.plain(1)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def without_self() -> None: ...


motet.endpoint(without_self)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


class Batched(motet.Service):
    @motet.batched  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    def no_lists(self, text: str) -> int:
        return len(text)

    @motet.batched  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    def no_list_back(self, texts: list[str]) -> int:
        return len(texts)

    @motet.batched  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    def two_lists(self, texts: list[str], more: list[str]) -> list[int]:
        return [len(texts), len(more)]

    @motet.batched(max_size=4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    async def generator(self, texts: list[str]) -> AsyncIterator[int]:
        yield len(texts)

    @motet.batched(max_size="4")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    def wrong_size(self, texts: list[str]) -> list[str]:
        return texts

    @motet.batched(concurrency=4)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    def unknown_option(self, texts: list[str]) -> list[str]:
        return texts

    @motet.batched
    def failed_text(self, texts: list[str]) -> list[str | motet.Failed]:
        return [motet.Failed(text) for text in texts]  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportReturnType]


class Overrides(Kinds):
    @motet.endpoint
    def plain(self, x: str, *, by: int = 1) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return by

    @motet.endpoint
    def asynchronous(self, x: int) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return str(x)

    @motet.endpoint
    def iterate(self, n: int) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return n

    @motet.endpoint
    def maybe(self, text: str) -> Iterator[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        yield text

    def nothing(self) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


# -- binding ------------------------------------------------------------------------------------------------------------

Detector.bind()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Detector.bind("en")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Detector.bind([1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
Detector.bind(["en"], 0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Detector.bind(["en"], unknown=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Batches.bind(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Index.bind("faq.jsonl", context="here")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Search.bind(Index.bind("x"), Batches.bind(), Index.bind("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Search.bind(Detector.bind([]), Detector.bind([]), Index.bind("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Search.bind(Detector.bind([]), Batches, Index.bind("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Search.bind(Detector.bind([]), Batches.bind(), Index.bind("x"), kinds=[Detector.bind([])])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
Search.bind(Detector.bind([]), Batches.bind(), Index.bind("x"), counter=Detector.bind([]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Search.bind(motet.depends(Kinds.bind()), Batches.bind(), Index.bind("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
_kinds: Kinds = Detector.bind([])  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
_counts: Counts = Detector.bind([])  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

Kinds.bind().options(cpus=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Kinds.bind().options(timeout="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Kinds.bind().options(replicas="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Kinds.bind().options(3)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
_detector: Detector = Kinds.bind().options(timeout=3)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
motet.depends(Kinds.bind(), timeout="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.depends(Kinds.bind(), cpus=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
motet.depends(Kinds)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
motet.depends(3)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


class Defaults(motet.Service):
    def __init__(self, detector: Detector = motet.depends(Kinds.bind())) -> None: ...  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]


class Undefaulted(motet.Service):
    def __init__(self, detector: Detector = motet.depends(Detector)) -> None: ...  # type: ignore[assignment, type-var]  # pyright: ignore[reportArgumentType]


motet.Config(cpus=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
motet.Config(resources=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.Config(replicas="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.Resources(cpus="two")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.Autoscale("1", 4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.Autoscale(1, 4, maximum=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
motet.Environment(pip="numpy")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.CallOptions(queue=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

motet.replace(app, Detector, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.replace(app, Detector.bind([]), Detector.bind([]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
_replaced: Kinds = motet.replace(app, Detector, Detector.bind([]))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

# -- running ------------------------------------------------------------------------------------------------------------

motet.run(Search)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
motet.run("app.py:app")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
motet.run(app, engine="cluster")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.run(app, unknown=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
motet.run(app, "inline")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
with motet.run(app) as running:
    running.unknown()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    running.ask("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _answer: str = running.ask(Question(text="x")).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
_handle: Kinds = motet.run(app).start()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
motet.connect("http://127.0.0.1:8000", app)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
motet.connect("http://127.0.0.1:8000")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
motet.connect("http://127.0.0.1:8000", Search, timeout=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
with motet.connect("http://127.0.0.1:8000", Search) as connected:
    connected.ask("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
for _server in motet.status():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
    pass


async def running_async() -> None:
    async with motet.run(app) as search:
        search.ask("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def context_has_no_such_thing(context: motet.Context) -> None:
    context.cards  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
