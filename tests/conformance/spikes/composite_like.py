"""A front end of tasks: a synchronous `invoke` that composes typed subtasks, which are fields of the class."""

import inspect
from typing import Any, get_type_hints

from pydantic import BaseModel

import motet
from motet.runtime.handle import Handle


class Task:
    """Base of tasks; each gets a service whose constructor takes the subtasks and whose endpoint is `invoke`."""

    service: Any = None

    def __init_subclass__(cls) -> None:
        if motet.Service in cls.__mro__:
            return
        subtasks = {name: kind for name, kind in get_type_hints(cls).items() if isinstance(kind, type) and issubclass(kind, Task)}

        def construct(self: Any, **tasks: Any) -> None:
            vars(self).update({name: Subtask(task) if isinstance(task, Handle) else task for name, task in tasks.items()})

        parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in subtasks.items()]
        construct.__annotations__ = subtasks
        construct.__signature__ = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *parameters])  # type: ignore[attr-defined]
        body = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.service", "__init__": construct}
        cls.service = type(cls.__name__, (cls, motet.Service), {**body, "invoke": motet.endpoint(vars(cls)["invoke"])})


class Subtask:
    """What a task holds of another: `invoke` returns a promise of the value at once, to be passed on or returned."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def invoke(self, value: Any) -> Any:
        return self._handle.invoke(value).ref


class Picture(BaseModel):
    pixels: list[int]


class Features(BaseModel):
    brightness: float


class Caption(BaseModel):
    text: str


class Encoder(Task):
    def invoke(self, picture: Picture) -> Features:
        return Features(brightness=sum(picture.pixels) / len(picture.pixels))


class Writer(Task):
    def invoke(self, features: Features) -> Caption:
        return Caption(text="bright" if features.brightness > 0.5 else "dark")


class Describe(Task):
    encoder: Encoder
    writer: Writer

    def invoke(self, picture: Picture) -> Caption:
        return self.writer.invoke(self.encoder.invoke(picture))
