"""The identity of a node: a digest of its code, arguments and options. Equal identities mean one set of replicas."""

from __future__ import annotations

import dis
import hashlib
import inspect
import logging
import pickle
import re
import sys
import sysconfig
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import cloudpickle

from motet.options import LIBRARY, Config

_LIBRARY_FOLDERS = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
ABSENT_PATH = "__motet_absent_path__"  # attribute of what stands for something that can't be imported here: its name


def code_digest(cls: type) -> str:
    """Return a digest of a class's source and of what it names: bases, functions, classes and constants of the user's own code."""
    code = _Code()
    code.add(cls)
    return code.digest.hexdigest()


def node_digest(cls: type, arguments: Mapping[str, object], config: Config) -> str:
    """Return the identity of a node without its dependencies' identities."""
    digest = hashlib.sha256(code_digest(cls).encode())
    digest.update(config.model_dump_json().encode())
    for name, value in sorted(arguments.items()):
        digest.update(name.encode())
        digest.update(_value_bytes(value) or str(id(value)).encode())  # what exists only in this process is equal to itself alone
    return digest.hexdigest()


def _value_bytes(value: object) -> bytes | None:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001  # objects defined in a notebook or a function
        try:
            return cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001  # something that exists only in this process
            return None


class _Code:
    """A digest of the user's code, and of all that it names, each thing once."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._seen: set[int] = set()

    def add(self, item: object, named_in: str | None = None) -> None:
        """Add an object that code of the file `named_in` names."""
        if id(item) in self._seen:
            return
        self._seen.add(id(item))
        if isinstance(item, type):
            if _is_users(item.__module__):
                self._add_class(item)
        elif isinstance(item, types.FunctionType):
            if _is_users(item.__module__):
                self.digest.update(_source(item))
                self._add_names(inspect.unwrap(item))
        elif isinstance(item, types.ModuleType):
            if _is_users(item.__name__) and (file := getattr(item, "__file__", None)):
                self.digest.update(_file_bytes(file))
        elif not isinstance(item, _WITHOUT_CODE):
            self._add_value(item, named_in)

    def _add_value(self, value: object, named_in: str | None) -> None:
        """Add a constant; of an object that is no plain data, the whole file in which it is named, as it may be made there."""
        if isinstance(value, set | frozenset):  # in an order that is the same in every process
            self.digest.update(repr(sorted(map(repr, cast("set[object]", value)))).encode())
        elif isinstance(value, str | bytes | int | float | bool | tuple | re.Pattern | None):
            self.digest.update(repr(cast("object", value)).encode())
        elif (path := getattr(value, ABSENT_PATH, None)) is not None:  # of a library, in another environment
            self.digest.update(str(path).encode())
        elif isinstance(value, list | dict) and (found := _value_bytes(cast("object", value))) is not None:
            self.digest.update(found)
        elif named_in is not None:
            self.digest.update(_file_bytes(named_in))

    def _add_class(self, cls: type) -> None:
        self.digest.update(_source(cls))
        for base in cls.__bases__:
            self.add(base)
        module = sys.modules.get(cls.__module__)
        self._add_annotations(vars(cls).get("__annotations__", {}), vars(module) if module is not None else {})
        for member in vars(cls).values():
            target = inspect.unwrap(member) if callable(member) and not isinstance(member, type) else getattr(member, "__func__", None)
            if isinstance(target, types.FunctionType) and _is_users(target.__module__):
                self._add_names(target)

    def _add_names(self, function: Callable[..., Any]) -> None:
        """Add what a function's code names in its module: globals, those in its annotations, and those of functions nested in it."""
        self._add_annotations(function.__annotations__, function.__globals__)
        for name, value in named_globals(function):
            self.digest.update(name.encode())
            self.add(value, function.__globals__.get("__file__"))

    def _add_annotations(self, annotations: Mapping[str, Any], names: Mapping[str, object]) -> None:
        for annotation in annotations.values():
            for item in _named(annotation, names):
                if not _is_service(item):  # it stands for a handle, which has nothing of the service's code
                    self.add(item)


def named_globals(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """Yield the globals that a function's code names, and that of functions nested in it, in the order of their names."""
    names: set[str] = set()
    stack = [function.__code__]
    while stack:
        code = stack.pop()
        names |= {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        stack += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    yield from ((name, function.__globals__[name]) for name in sorted(names) if name in function.__globals__)


# Things that code names and that aren't made of the user's code, or say nothing of it.
_WITHOUT_CODE = (types.BuiltinFunctionType, types.MethodType, logging.Logger, typing.TypeVar)


def _named(annotation: Any, names: Mapping[str, object]) -> Iterator[object]:
    """Yield what an annotation names, also within generic types."""
    if isinstance(annotation, str):
        words = "".join(c if c.isalnum() or c == "_" else " " for c in annotation).split()
        yield from (names[word] for word in words if word in names)
    elif arguments := typing.get_args(annotation):
        for argument in arguments:
            yield from _named(argument, names)
    else:
        yield annotation


def _is_service(item: object) -> bool:
    return isinstance(item, type) and "__motet_definition__" in vars(item)


def _source(item: type | types.FunctionType) -> bytes:
    try:
        return inspect.getsource(item).encode()
    except (OSError, TypeError):
        code = getattr(item, "__code__", None)
        return code.co_code if code is not None else repr(item).encode()


def _is_users(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "motet" or module.startswith("motet."):
        return False
    return file is None or is_users_file(file)


def is_users_file(file: str) -> bool:
    """Whether a source file is the user's own: of no installed package (also of another environment), of Python, or of Motet."""
    return not (file.startswith((*_LIBRARY_FOLDERS, LIBRARY)) or "/site-packages/" in file or "/dist-packages/" in file)


@lru_cache(maxsize=256)
def _file_bytes(file: str) -> bytes:
    with open(file, "rb") as source:  # noqa: PTH123  # hot in large projects
        return source.read()
