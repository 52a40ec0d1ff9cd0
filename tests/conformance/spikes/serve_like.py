"""A front end of plain classes: `@deployment`, `Class.bind(...)`, and `handle.method.remote(x)` with un-awaited arguments."""

from typing import Any

import motet
from motet.runtime.handle import Handle


class Remote:
    """What a deployment holds of another, or of one of its methods: `.remote(...)` starts a call and forwards calls among its arguments."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> "Remote":
        return Remote(getattr(self._target, name))

    def remote(self, *args: Any) -> Any:
        return self._target(*[a.ref if isinstance(a, motet.Call) else a for a in args])


class Deployment:
    """Stands for a class; `bind` makes a node of a service that wraps it."""

    def __init__(self, cls: Any, options: dict[str, Any]) -> None:
        def construct(self: Any, *args: Any) -> None:
            cls.__init__(self, *[Remote(a) if isinstance(a, Handle) else a for a in args])

        methods = {name: motet.endpoint(annotated(f)) for name, f in vars(cls).items() if callable(f) and name[0] != "_"}
        body = {"__module__": cls.__module__, "__qualname__": f"{cls.__name__}.service", "__init__": construct}
        self.service: Any = type(cls.__name__, (cls, motet.Service), {**body, **methods})
        self._options = options

    def bind(self, *args: Any) -> Any:
        return self.service.bind(*args).options(**self._options)


def annotated(function: Any) -> Any:
    """Say that parameters which say nothing may be anything."""
    names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    function.__annotations__ = dict.fromkeys((*names, "return"), Any) | function.__annotations__
    return function


def deployment(*, num_replicas: int = 1, max_ongoing_requests: int = 5) -> Any:
    """Make a deployment of a class."""
    return lambda cls: Deployment(cls, {"replicas": num_replicas, "concurrency": max_ongoing_requests})


@deployment(max_ongoing_requests=2)
class Translator:
    def __init__(self, table):
        self.table = table

    def translate(self, word):
        return self.table.get(word, word)


@deployment()
class Pipeline:
    def __init__(self, there, back):
        self.there = there
        self.back = back

    async def both_ways(self, word):
        return await self.back.translate.remote(self.there.translate.remote(word))


app = Pipeline.bind(Translator.bind({"cat": "Katze"}), Translator.bind({"Katze": "cat!"}))
