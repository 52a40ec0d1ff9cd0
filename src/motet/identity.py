"""The identity of a node: a digest of its code, arguments and options. Equal identities mean one set of replicas."""

from __future__ import annotations

import dis
import hashlib
import inspect
import pickle
import sys
import sysconfig
import types
from collections.abc import Mapping
from functools import lru_cache

import cloudpickle

from motet.options import LIBRARY, Config

_LIBRARY_FOLDERS = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def code_digest(cls: type) -> str:
    """Return a digest of a class's source and of what it names: bases, functions, classes and constants of the user's own code."""
    digest = hashlib.sha256()
    seen: set[int] = set()
    _add(cls, digest, seen)
    return digest.hexdigest()


def node_digest(cls: type, arguments: Mapping[str, object], config: Config) -> str:
    """Return the identity of a node without its dependencies' identities."""
    digest = hashlib.sha256(code_digest(cls).encode())
    digest.update(config.model_dump_json().encode())
    for name, value in sorted(arguments.items()):
        digest.update(name.encode())
        digest.update(_value_bytes(value))
    return digest.hexdigest()


def _value_bytes(value: object) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001  # objects defined in a notebook or a function
        try:
            return bytes(cloudpickle.dumps(value))
        except Exception:  # noqa: BLE001  # something that exists only in this process is equal to itself alone
            return str(id(value)).encode()


def _add(item: object, digest: hashlib._Hash, seen: set[int]) -> None:
    if id(item) in seen:
        return
    seen.add(id(item))
    if isinstance(item, type):
        if not _is_users(item.__module__):
            return
        digest.update(_source(item))
        for base in item.__bases__:
            _add(base, digest, seen)
        for member in vars(item).values():
            target = inspect.unwrap(member) if callable(member) and not isinstance(member, type) else getattr(member, "__func__", None)
            if isinstance(target, types.FunctionType):
                _add_names(target, digest, seen)
    elif isinstance(item, types.FunctionType):
        if _is_users(item.__module__):
            digest.update(_source(item))
            _add_names(inspect.unwrap(item), digest, seen)
    elif isinstance(item, types.ModuleType):
        if _is_users(item.__name__) and (file := getattr(item, "__file__", None)):
            digest.update(_file_bytes(file))
    elif isinstance(item, str | bytes | int | float | bool | tuple | frozenset | None):
        digest.update(repr(item).encode())
    elif isinstance(item, list | dict | set):
        digest.update(_value_bytes(item))


def _add_names(function: types.FunctionType, digest: hashlib._Hash, seen: set[int]) -> None:
    """Add what a function's code names in its module: globals, those in its annotations, and those of functions nested in it."""
    names = {name for annotation in function.__annotations__.values() if isinstance(annotation, str) for name in _words(annotation)}
    for annotation in function.__annotations__.values():
        if isinstance(annotation, type):
            _add(annotation, digest, seen)
    stack = [function.__code__]
    while stack:
        code = stack.pop()
        names |= {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        stack += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    for name in sorted(names):
        if name in function.__globals__:
            digest.update(name.encode())
            _add(function.__globals__[name], digest, seen)


def _words(annotation: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in annotation).split()


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
    """Whether a source file is the user's own: of no installed package, of Python, or of Motet."""
    return not file.startswith((*_LIBRARY_FOLDERS, LIBRARY))


@lru_cache(maxsize=256)
def _file_bytes(file: str) -> bytes:
    with open(file, "rb") as source:  # noqa: PTH123  # hot in large projects
        return source.read()
