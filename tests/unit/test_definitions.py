"""Faults of service classes: each kind, all at once, with its place and what to write instead."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

import motet
from motet.errors import DefinitionError, Fault

HERE = str(Path(__file__))


def faults_of(define) -> tuple[Fault, ...]:
    """Return the faults of the class that `define` defines and binds."""
    with pytest.raises(DefinitionError) as caught:
        define().bind()
    return caught.value.faults


def only_fault(define) -> Fault:
    """Return the single fault, after checking that it has a place in this file and a remedy."""
    (fault,) = faults_of(define)
    assert fault.place.startswith(HERE + ":")
    assert int(fault.place.rpartition(":")[2]) > 0
    assert fault.instead
    return fault


def test_unannotated_parameter():
    """A parameter without annotation is named."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self, x) -> int:
                return 1

        return Bad

    fault = only_fault(define)
    assert fault.subject == "Bad.f"
    assert "`x`" in fault.message
    assert fault.instead == "x: <type>"


def test_unannotated_return():
    """A missing return annotation is a fault."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self, x: int):
                return 1

        return Bad

    assert "return" in only_fault(define).message


def test_line_of_the_fault():
    """The place is the line of the endpoint."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self, x) -> int:
                return 1

        return Bad

    line = int(only_fault(define).place.rpartition(":")[2])
    assert "endpoint" in Path(__file__).read_text().splitlines()[line - 1] or "def f" in Path(__file__).read_text().splitlines()[line - 1]


@pytest.mark.parametrize("annotation", [Callable[[int], int], Iterator[int], object(), type("Odd", (), {})])
def test_unserializable_parameter(annotation):
    """A type that can't be sent is a fault."""

    def define():
        def f(self, x):
            return 1

        f.__annotations__ = {"x": annotation, "return": int}
        return type("Bad", (motet.Service,), {"f": motet.endpoint(f), "__module__": __name__})

    fault = only_fault(define)
    assert "`x` can't be sent" in fault.message or "can't be resolved" in fault.message


def test_unserializable_result():
    """A return type that can't be sent is a fault."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self) -> Callable[[int], int]:
                return abs

        return Bad

    assert "return value" in only_fault(define).message


def test_service_as_argument():
    """A service is no value."""

    class Other(motet.Service):
        @motet.endpoint
        def g(self) -> int:
            return 1

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self, other: Other) -> int:
                return 1

        return Bad

    assert "constructor" in only_fault(define).message


def test_undefined_name_in_an_annotation():
    """An annotation that names nothing is a fault when the class is bound."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self, x: "Nowhere") -> int:  # noqa: F821
                return 1

        return Bad

    assert "Nowhere" in only_fault(define).message


def test_stream_annotation_without_yield():
    """An iterator annotation wants a `yield`."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f(self) -> Iterator[int]:
                return iter([1])

        return Bad

    assert "yield" in only_fault(define).message


@pytest.mark.parametrize("annotation", [int, list[int], AsyncIterator[int], Iterator])
def test_yield_without_stream_annotation(annotation):
    """A generator wants a matching iterator annotation that says what it yields."""

    def define():
        def f(self):
            yield 1

        f.__annotations__ = {"return": annotation}
        return type("Bad", (motet.Service,), {"f": motet.endpoint(f), "__module__": __name__})

    assert only_fault(define).instead.startswith("-> Iterator[")


def test_async_yield_without_async_annotation():
    """An async generator wants an AsyncIterator."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            async def f(self) -> Iterator[int]:
                yield 1

        return Bad

    assert only_fault(define).instead == "-> AsyncIterator[int]"


def test_batched_without_lists():
    """A batched endpoint takes and returns lists: both faults are shown."""

    def define():
        class Bad(motet.Service):
            @motet.batched
            def f(self, xs: int) -> int:
                return 1

        return Bad

    assert [fault.found for fault in faults_of(define)] == ["int", "int"]


def test_batched_with_two_parameters():
    """A batched endpoint takes one list."""

    def define():
        class Bad(motet.Service):
            @motet.batched
            def f(self, xs: list[int], ys: list[int]) -> list[int]:
                return xs

        return Bad

    assert "exactly one list" in only_fault(define).message


def test_batched_generator():
    """A batched endpoint is no generator."""

    def define():
        class Bad(motet.Service):
            @motet.batched
            def f(self, xs: list[int]) -> Iterator[int]:
                yield 1

        return Bad

    assert any("generator" in fault.message for fault in faults_of(define))


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0},
        {"max_size": "many"},
        {"max_wait": -1},
        {"timeout": 0},
        {"timeout": -5},
        {"timeout": "soon"},
        {"idempotent": "yes"},
        {"max_sise": 3},
        {"colour": "red"},
    ],
)
def test_wrong_endpoint_options(options):
    """An option of an endpoint that makes no sense is a fault that names it."""

    def define():
        class Bad(motet.Service):
            @motet.batched(**options)
            def f(self, xs: list[int]) -> list[int]:
                return xs

        return Bad

    assert next(iter(options)) in only_fault(define).message


def test_unknown_endpoint_option():
    """What was meant is named."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint(timeoutt=3)  # type: ignore[call-overload]  # what is tested
            def f(self) -> int:
                return 1

        return Bad

    assert only_fault(define).instead == "timeout=..."


@pytest.mark.parametrize("wrapper", [staticmethod, classmethod, property])
def test_endpoint_that_is_no_plain_method(wrapper):
    """A static or class method or a property is refused, and not called with an argument too few later on."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            @wrapper
            def f(self) -> int:
                return 1

        return Bad

    fault = only_fault(define)
    assert fault.found == wrapper.__name__
    assert "plain method" in fault.message


def test_option_given_without_its_name():
    """`@batched(16)` isn't taken for the method."""

    def define():
        class Bad(motet.Service):
            @motet.batched(16)  # type: ignore[call-overload]  # what is tested
            def f(self, xs: list[int]) -> list[int]:
                return xs

        return Bad

    assert only_fault(define).found == "16"


def test_method_without_self():
    """A method that takes nothing at all is a fault, not a crash."""

    def define():
        class Bad(motet.Service):
            @motet.endpoint
            def f() -> int:  # type: ignore[misc]  # what is tested
                return 1

        return Bad

    assert "`self`" in only_fault(define).message


@pytest.mark.parametrize("name", ["start", "stop", "health", "reconfigure", "preload", "bind", "options", "config", "_hidden"])
def test_reserved_endpoint_names(name):
    """Hooks and what Motet needs itself can't be endpoints, nor can private names."""

    def define():
        def f(self) -> int:
            return 1

        f.__name__ = name
        return type("Bad", (motet.Service,), {name: motet.endpoint(f), "__module__": __name__})

    assert any("can't be the name" in fault.message for fault in faults_of(define))


@pytest.mark.parametrize("kind", ["*args", "**kwargs", "positional"])
def test_parameters_that_have_no_name(kind):
    """`*args`, `**kwargs` and positional-only parameters are faults."""

    def any_number(self, *args: int) -> int:
        return 1

    def any_names(self, **kwargs: int) -> int:
        return 1

    def positional(self, x: int, /) -> int:
        return 1

    function = {"*args": any_number, "**kwargs": any_names, "positional": positional}[kind]
    assert only_fault(lambda: type("Bad", (motet.Service,), {function.__name__: motet.endpoint(function), "__module__": __name__}))


def test_no_endpoint():
    """A service without endpoints is a fault when it is bound."""

    class Bad(motet.Service):
        pass

    assert "no endpoint" in only_fault(lambda: Bad).message


def test_hook_that_is_not_async():
    """`start` and `stop` are async."""

    def define():
        class Bad(motet.Service):
            def start(self) -> None: ...

            @motet.endpoint
            def f(self) -> int:
                return 1

        return Bad

    assert "async def start" in only_fault(define).instead


def late(self, when: float) -> None: ...


async def late_async(self, when: float) -> None: ...


async def plain_async(self) -> None: ...


def plain(self) -> None: ...


def yields(self) -> Iterator[int]:
    yield 1


def takes_unknown(cls, path: str, other: int) -> None: ...


async def preloads_async(cls, path: str) -> None: ...


def takes_by_position(cls, path: str, /) -> None: ...


@pytest.mark.parametrize(
    ("name", "hook", "message"),
    [
        ("start", late_async, "without arguments"),
        ("stop", late_async, "without arguments"),
        ("stop", "later", "no method"),
        ("start", yields, "yield"),
        ("health", late, "without arguments"),
        ("health", yields, "yield"),
        ("health", True, "no method"),
        ("health", staticmethod(plain), "without arguments"),
        ("reconfigure", plain, "new configuration"),
        ("preload", plain, "classmethod"),
        ("preload", classmethod(preloads_async), "async"),
        ("preload", classmethod(takes_unknown), "other"),
        ("preload", classmethod(takes_by_position), "by name"),
    ],
)
def test_hooks_that_cannot_be_called(name, hook, message):
    """A hook that would fail when it is called is refused when the class is defined, with the line of the method."""

    def define():
        class WithoutHook:
            def __init__(self, path: str) -> None: ...

            @motet.endpoint
            def f(self) -> int:
                return 1

        return type("Bad", (WithoutHook, motet.Service), {"__module__": __name__, name: hook})

    fault = only_fault(define)
    assert fault.subject == f"Bad.{name}"
    assert fault.message.startswith(f"the hook `{name}` ")
    assert message in fault.message
    assert f"def {name}(" in fault.instead


def test_hooks_as_they_may_be():
    """Defaults, more of the constructor's arguments than are asked for, sync or async `health`."""

    class Good(motet.Service):
        def __init__(self, path: str, size: int = 1) -> None: ...

        @classmethod
        def preload(cls, size: int, scale: float = 1.0) -> None: ...

        async def start(self, wait: float = 0) -> None: ...

        async def health(self) -> bool:
            return True

        def reconfigure(self, config: dict[str, int]) -> None: ...

        @motet.endpoint
        def f(self) -> int:
            return 1

    class Other(Good):
        @staticmethod
        def preload(path: str) -> None: ...

        def health(self, *args: int) -> None: ...

    Good.bind("a")
    Other.bind("b")


def test_config_that_is_none():
    """`config` has to be a motet.Config."""

    def define():
        class Bad(motet.Service):
            config = ()  # type: ignore[assignment]

            @motet.endpoint
            def f(self) -> int:
                return 1

        return Bad

    assert "motet.Config" in only_fault(define).message


def test_unannotated_constructor_parameter():
    """Constructor parameters are annotated."""

    def define():
        class Bad(motet.Service):
            def __init__(self, x): ...

            @motet.endpoint
            def f(self) -> int:
                return 1

        return Bad

    assert "`x`" in only_fault(define).message


def test_all_faults_at_once():
    """Every fault of a class is reported, not only the first."""

    def define():
        class Bad(motet.Service):
            def __init__(self, x): ...

            def stop(self) -> None: ...

            @motet.endpoint
            def f(self, x) -> Iterator[int]:
                return iter([])

            @motet.batched(max_size=0)
            def g(self, xs: int) -> list[int]:
                return []

        return Bad

    subjects = [fault.subject for fault in faults_of(define)]
    assert {"Bad.__init__", "Bad.stop", "Bad.f", "Bad.g"} == set(subjects)
    assert subjects.count("Bad.g") == 2


class Good(motet.Service):
    """Takes two arguments."""

    def __init__(self, word: str, count: int = 1) -> None: ...

    @motet.endpoint
    def f(self) -> int:
        return 1


class NeedsGood(motet.Service):
    """Has a dependency."""

    def __init__(self, good: Good) -> None: ...

    @motet.endpoint
    def f(self) -> int:
        return 1


class Other(motet.Service):
    """Is no Good."""

    @motet.endpoint
    def f(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "word"),
        (("a", 1, 2), {}, "too many"),
        (("a",), {"colour": 1}, "colour"),
        (("a",), {"word": "b"}, "multiple values"),
        ((5,), {}, "`word`"),
        (("a", "many"), {}, "`count`"),
    ],
)
def test_wrong_constructor_arguments(args, kwargs, text):
    """Missing, extra, doubled and wrong constructor arguments are faults at the line of the `bind`."""
    with pytest.raises(DefinitionError, match=text) as caught:
        Good.bind(*args, **kwargs)
    (fault,) = caught.value.faults
    assert fault.place.startswith(HERE)


def test_all_wrong_constructor_arguments_at_once():
    """What is missing, what there is no parameter for, and what has the wrong type are reported together."""
    with pytest.raises(DefinitionError) as caught:
        Good.bind(count="many", colour=1, shape=2)
    text = str(caught.value)
    assert all(part in text for part in ("'word'", "'colour'", "'shape'", "`count`"))


@pytest.mark.parametrize("value", [Other.bind(), "text", None])
def test_dependency_of_the_wrong_type(value):
    """A dependency that is another service, or no node, is a fault that says what to bind."""
    with pytest.raises(DefinitionError) as caught:
        NeedsGood.bind(value)
    assert "Good.bind" in caught.value.faults[0].instead


def needs(annotation):
    """Return a service whose constructor takes one thing."""

    class Needs(motet.Service):
        def __init__(self, given: annotation) -> None: ...

        @motet.endpoint
        def g(self) -> int:
            return 1

    return Needs


@pytest.mark.parametrize(
    ("annotation", "value", "where"),
    [
        (list[Good], [Good.bind("a"), Other.bind()], "given[1]"),
        (list[Good], [Good.bind("a"), "text"], "given[1]"),
        (list[Good], ["text"], "given[0]"),
        (Sequence[Good], (Other.bind(),), "given[0]"),
        (tuple[Good, ...], (Good.bind("a"), Other.bind()), "given[1]"),
        (tuple[Good, Other], (Good.bind("a"), Good.bind("b")), "given[1]"),
        (dict[str, Good], {"a": Good.bind("a"), "b": Other.bind()}, "given['b']"),
        (dict[str, list[Good]], {"a": [Other.bind()]}, "given['a'][0]"),
        (list[Good] | None, [Other.bind()], "given[0]"),
        (Annotated[list[Good], "mine"], [motet.depends(Other.bind(), timeout=1)], "given[0]"),
        (list[Good | None], [Other.bind()], "given[0]"),
        (list[Good], Good.bind("a"), "given"),
    ],
)
def test_dependency_of_the_wrong_type_inside(annotation, value, where):
    """Nodes in lists, tuples and dicts are looked at as those that stand alone."""
    with pytest.raises(DefinitionError) as caught:
        needs(annotation).bind(value)
    (fault,) = caught.value.faults
    assert f"`{where}` must be " in fault.message
    assert fault.place.startswith(HERE)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[Good], [Good.bind("a")]),
        (list[Good], []),
        (list[Good | None], [None, Good.bind("a")]),
        (list[Good | Other], [Other.bind(), Good.bind("a")]),
        (dict[str, Good | int], {"a": 1, "b": Good.bind("a")}),
        (tuple[int, Good], (1, Good.bind("a"))),
        (list[motet.Service], [Other.bind()]),
        (list[Any], [Other.bind(), 3]),
        (list, [Other.bind()]),
        (object, [Other.bind()]),
        (Any, Other.bind()),
        (Good | None, None),
    ],
)
def test_dependencies_that_fit(annotation, value):
    assert needs(annotation).bind(value)


def with_defaults(annotation, default):
    """Return a service with a constructor and an endpoint of one such parameter."""

    class WithDefaults(motet.Service):
        def __init__(self, given: annotation = default) -> None: ...

        @motet.endpoint
        def g(self, given: annotation = default) -> int:
            return 1

    return WithDefaults


@pytest.mark.parametrize(
    ("annotation", "default"), [(int, "many"), (int, None), (list[int], ["a"]), (Annotated[int, Field(gt=0)], 0), (bytes, 3)]
)
def test_defaults_that_do_not_fit(annotation, default):
    """They would be used as they are: nothing validates them when a call leaves them out."""
    faults = faults_of(lambda: with_defaults(annotation, default))
    assert {fault.subject for fault in faults} == {"WithDefaults.g"}
    assert "default of parameter `given`" in faults[0].message

    class Other(motet.Service):
        def __init__(self, given: annotation = default) -> None: ...

        @motet.endpoint
        def g(self) -> int:
            return 1

    fault = only_fault(lambda: Other)
    assert (fault.subject, "`given" in fault.message) == ("Other.__init__", True)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(int, 1), (float, 1), (int | None, None), (list[int], []), (Path, Path("a")), (Any, object()), (str, str(1)), (bool, False)],
)
def test_defaults_that_fit(annotation, default):
    assert with_defaults(annotation, default).bind()


def test_errors_of_definitions_read_well():
    """The text of the error has place, subject, message, what was found, and what to write."""
    with pytest.raises(DefinitionError) as caught:
        Good.bind()
    text = str(caught.value)
    assert text.startswith("1 fault in the definition:")
    assert all(part in text for part in (HERE, "Good.bind", "found:", "instead:"))
