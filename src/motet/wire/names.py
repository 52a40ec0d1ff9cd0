"""Classes by name: how one process says which class it means to another."""

from __future__ import annotations

import importlib
import pathlib
import sys
from functools import lru_cache


@lru_cache(maxsize=4096)
def is_importable(kind: type) -> bool:
    """Whether other processes can find the class by its module and name."""
    found: object = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind and (kind.__module__ != "__main__" or main_script() is not None)


def main_script() -> str | None:
    """Return the file of this process's main module; None in a notebook or where the program came from standard input."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return str(pathlib.Path(file).resolve()) if file is not None and pathlib.Path(file).is_file() else None


@lru_cache(maxsize=4096)
def class_name(kind: type) -> str:
    """Return `module:qualified.name`; a script's own name is the same in every process that loaded it."""
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return f"{module}:{kind.__qualname__}"


@lru_cache(maxsize=4096)
def load_class(name: str) -> type:
    """Return the class that `class_name` named.

    Raises:
        ImportError: there is no such class here.
    """
    module, _, qualified = name.partition(":")
    found: object = importlib.import_module(module)
    try:
        for part in qualified.split("."):
            found = getattr(found, part)
    except AttributeError:
        message = f"there is no {qualified} in the module {module} of this process"
        raise ImportError(message) from None
    if not isinstance(found, type):
        message = f"{name} is no class"
        raise ImportError(message)  # noqa: TRY004  # whatever is wrong, the class isn't here
    return found
