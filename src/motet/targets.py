"""Targets: `file.py:name` or `package.module:name`, from the command line to a bound node."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
import traceback
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from motet import check
from motet.binding import Node
from motet.errors import DefinitionError, Fault, TargetError, UsageError
from motet.failed_imports import Imports, forget_users_modules
from motet.graph import reachable
from motet.identity import is_users_file
from motet.options import Config
from motet.service import Service

T = TypeVar("T")


def split_target(target: str) -> tuple[str, str]:
    """Return file or module, and the name in it.

    Raises:
        TargetError: the text isn't `file.py:name` or `package.module:name`.
    """
    source, colon, name = target.rpartition(":")
    if not colon or not source or not name.isidentifier():
        raise TargetError("a target is written `file.py:name` or `package.module:name`", found=repr(target), instead="app.py:app")
    return source, name


def load_target(target: str) -> Node:
    """Import a target and return its bound node; all faults of all classes in it are reported together.

    Raises:
        TargetError: the file, module or name doesn't exist, importing it fails, or it is no bound node.
        DefinitionError: something in it is defined wrongly.
    """
    with check.collecting():
        return find_node(target)


class Loading:
    """Loads the user's code in this process, again with placeholders where imports in it fail.

    What only one service's environment has may be imported at the top of a file that others are loaded from, too. Without any
    service that declares packages there is no such environment: then the first import that failed is the error.

    Args:
        elsewhere: whether this process has the environment of some services. The others are none of its business, nor is
            what is wrong with them here; that was looked at where the app was described.
    """

    def __init__(self, *, elsewhere: bool = False) -> None:
        self._elsewhere = elsewhere
        self._imports = Imports()
        self._before = weakref.WeakSet(_subclasses(Service))
        self._failed: Exception | None = None
        self._faults: list[Fault] = []

    def run(self, load: Callable[[], T]) -> T:
        """Return what `load` returns, which is called again whenever that may help."""
        while True:
            before = frozenset(sys.modules)
            faults: list[Fault] = []
            try:
                with check.apart(faults), self._imports.standing_in():
                    loaded = load()
            except Exception as error:
                if self._imports.learn(error if isinstance(error, ImportError) else error.__cause__):
                    self._failed = self._failed or error
                    forget_users_modules(before)
                    continue
                if self._failed is not None and not self._is_declared(None):
                    raise self._failed from self._failed.__cause__
                check.report(faults)
                raise
            self._faults += faults
            return loaded

    def settle(self, value: object) -> None:
        """Report the faults of what was loaded, unless an import is to blame; `value` is the target."""
        if self._failed is not None and not self._is_declared(value):
            raise self._failed from self._failed.__cause__
        if not self._elsewhere:
            check.report(self._faults)

    def _is_declared(self, value: object) -> bool:
        """Whether some service has packages of its own, so that a failed import may be meant for that one alone."""
        nodes = reachable(value) if isinstance(value, Node) else []
        classes = [cls for cls in _subclasses(Service) if cls not in self._before]
        configs = [*(node.config for node in nodes), *(getattr(cls, "config", None) for cls in classes)]
        return self._elsewhere or any(isinstance(config, Config) and config.environment.has_packages for config in configs)


def _subclasses(cls: type) -> Iterator[type]:
    subclasses: list[type] = cls.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def find_node(target: str) -> Node:
    """Import a target and return its bound node; faults go to whoever is collecting them.

    Raises:
        TargetError: the file, module or name doesn't exist, importing it fails, or it is no bound node.
        DefinitionError: a fault that nobody collects.
        UsageError: Motet is misused while the file is imported.
    """
    source, name = split_target(target)
    loading = Loading()
    module = import_source(source, loading)
    value: object = getattr(module, name, None)
    loading.settle(value)
    if not hasattr(module, name):
        nodes = [n for n, value in vars(module).items() if isinstance(value, Node)]
        close = difflib.get_close_matches(name, nodes, n=1) or nodes
        raise TargetError(
            f"{source} has no name {name!r}",
            where=str(module.__file__),
            instead=f"{source}:{close[0]}" if close else "bind a service: app = MyService.bind(...)",
        )
    if not isinstance(value, Node):
        kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        instead = f"app = {name}.bind(...)" if isinstance(value, type) else f"{name} = MyService.bind(...)"
        raise TargetError(f"{target} is no bound node", where=str(module.__file__), found=kind, instead=instead)
    return value


def import_source(source: str, loading: Loading) -> ModuleType:
    """Import a file or module by what stands before the colon of a target."""
    with importing():
        return _import(source, loading)


def _import(source: str, loading: Loading) -> ModuleType:
    if source.endswith(".py") or "/" in source:
        path = Path(source).resolve()
        if not path.is_file():
            near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
            raise TargetError(
                "there is no such file", found=str(path), instead=", ".join(difflib.get_close_matches(path.name, near)) or None
            )
        return _import_file(path, loading)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise TargetError(
            f"there is no module {source!r}",
            where=f"import path from {Path.cwd()}",
            instead="a file.py:name, or run it where the package is",
        )
    return loading.run(lambda: _guarded(source, lambda: importlib.import_module(source)))


def _import_file(path: Path, loading: Loading) -> ModuleType:
    """Import a file under the name that other files of its package or folder import it by."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts)
    module = loading.run(lambda: _guarded(str(path), lambda: importlib.import_module(name)))
    if Path(str(module.__file__)).resolve() != path:
        raise TargetError(f"the name {name!r} is taken by another module", where=str(module.__file__), instead="another file name")
    return module


def _guarded(source: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (DefinitionError, UsageError):
        raise
    except Exception as error:
        raise TargetError(f"importing {source} failed: {type(error).__name__}: {error}", where=_last_place(error)) from error
    except SystemExit as error:
        raise TargetError(
            f"importing {source} ended the program (exit code {error.code})", instead="guard it by `if __name__ == '__main__':`"
        ) from error


def _last_place(error: BaseException) -> str | None:
    """Return `file:line` of the last line of the user's that an exception came from."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users_file(f.filename) and not f.filename.startswith("<")]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


_importing = False


@contextlib.contextmanager
def importing() -> Generator[None]:
    """Mark that this process imports code only to find what is in it: a `motet.run` at its top level would do so again, for ever."""
    global _importing  # noqa: PLW0603  # the process does it, whichever thread
    before, _importing = _importing, True
    try:
        yield
    finally:
        _importing = before


def is_importing() -> bool:
    """Whether this process imports code only to find what is in it."""
    return _importing


class ScriptReached(BaseException):
    """Ends the loading of a script at its `motet.run`: all that its services need is defined by then."""


_loading_script = False


def is_loading_script() -> bool:
    """Whether this process loads a script for its classes, so that `motet.run` must end the loading."""
    return _loading_script


def load_script(script: str | None, module: str | None, loading: Loading | None = None) -> None:
    """Load the main module of another process as this one's, up to its `motet.run`.

    Its name is `__mp_main__`, as for multiprocessing, so that what is guarded by `if __name__ == "__main__"` doesn't run.

    Raises:
        TargetError: it raised before that.
    """
    global _loading_script  # noqa: PLW0603  # one script per process
    _loading_script = True
    try:
        (loading.run if loading is not None else _once)(lambda: _load_main(script, module))
    finally:
        _loading_script = False


def _once(load: Callable[[], None]) -> None:
    load()


def _load_main(script: str | None, module: str | None) -> None:
    main = ModuleType("__mp_main__")
    main.__file__ = script
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    try:
        if module is not None:
            _run_into(main, module)
        elif script is not None:
            main.__dict__["__builtins__"] = __builtins__
            exec(compile(Path(script).read_bytes(), script, "exec"), main.__dict__)  # noqa: S102  # the user's own program
    except ScriptReached:
        pass
    except Exception as error:
        raise TargetError(f"loading {script} failed: {type(error).__name__}: {error}", where=_last_place(error)) from error


def _run_into(main: ModuleType, module: str) -> None:
    spec = importlib.util.find_spec(module)
    loader: Any = spec.loader if spec is not None else None
    if spec is None or not hasattr(loader, "get_code"):
        message = f"there is no module {module!r}"
        raise TargetError(message)
    main.__spec__ = spec
    main.__package__ = spec.parent
    code = loader.get_code(module)
    main.__dict__["__builtins__"] = __builtins__
    exec(code, main.__dict__)  # noqa: S102  # the user's own program
