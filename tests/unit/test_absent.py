"""Imports at the top of a file that only another service's environment has: what stands in their place, and how it refuses."""

import asyncio
import itertools
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

import motet
from motet.absent import used_by
from motet.binding import Node
from motet.engines.inline import InlineEngine
from motet.errors import DefinitionError, StartError, TargetError
from motet.graph import compile_graph
from motet.targets import Loading, load_target

_numbers = itertools.count()

DECLARED = """
class Detector(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=("lingvo",)))
    @motet.endpoint
    def language(self, text: str) -> str:
        return lingvo.detect(text)
"""


class _Written:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"absent_app_{next(_numbers)}"

    def load(self, text: str) -> Node:
        (self.folder / f"{self.name}.py").write_text("import motet\n" + text)
        return load_target(f"{self.folder / self.name}.py:app")

    @property
    def module(self) -> Any:
        return cast("Any", sys.modules[self.name])


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Written:
    monkeypatch.syspath_prepend(str(tmp_path))
    return _Written(tmp_path)


def test_a_missing_module_is_no_obstacle_where_a_service_has_packages_of_its_own(written: _Written) -> None:
    node = written.load("import lingvo\n" + DECLARED + "app = Detector.bind()")
    assert list(compile_graph(node).nodes) == ["Detector"]
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'lingvo'.*:2 imports.*Environment\(pip="):
        written.module.lingvo.detect("text")


def test_without_such_a_service_the_error_is_the_import_s_own(written: _Written) -> None:
    text = """
import lingvo
class Plain(motet.Service):
    @motet.endpoint
    def echo(self, text: str) -> str:
        return lingvo.echo(text)
app = Plain.bind()
"""
    with pytest.raises(TargetError, match="No module named 'lingvo'") as caught:
        written.load(text)
    assert caught.value.where == f"{written.folder / written.name}.py:3"


def test_services_of_other_targets_in_the_process_do_not_count(written: _Written) -> None:
    written.load("import lingvo\n" + DECLARED + "app = Detector.bind()\n")
    other = sys.modules.pop(written.name)  # its classes live on, whatever becomes of the module
    with pytest.raises(TargetError, match="No module named 'lingvo'"):
        written.load("import lingvo\nclass Plain(motet.Service):\n    ...\napp = Plain.bind()\n")
    assert other.Detector in motet.Service.__subclasses__()


def test_packages_of_a_bound_node_count_as_well(written: _Written) -> None:
    text = """
import lingvo
class Plain(motet.Service):
    @motet.endpoint
    def echo(self, text: str) -> str:
        return lingvo.echo(text)
app = Plain.bind().options(environment=motet.Environment(pip=("lingvo",)))
"""
    assert isinstance(written.load(text), Node)


def test_every_form_of_the_import_statement_can_fail(written: _Written) -> None:
    head = """
import lingvo
import lingvo.core
import lingvo.core as core
import json.nosuch
import os.path, lingvo.deep.er
from lingvo import Language, Builder as B
from lingvo.core import Core
from json import (
    dumps,
    nosuch,
)
"""
    written.load(head + DECLARED + "app = Detector.bind()")
    module = written.module
    assert [repr(x) for x in (module.lingvo.deep, module.core, module.B, module.nosuch)] == [
        "lingvo.deep",
        "lingvo.core",
        "lingvo.Builder",
        "json.nosuch",
    ]
    assert module.dumps([1]) == "[1]"
    assert module.json.loads("[1]") == [1]
    assert repr(module.json.nosuch) == "json.nosuch"


def test_a_try_keeps_its_fallback_beside_a_plain_import(written: _Written) -> None:
    head = """
import lingvo
try:
    import lingvo
    HAS = True
except ImportError:
    HAS = False
"""
    written.load(head + DECLARED + "app = Detector.bind()")
    assert written.module.HAS is False


def test_others_still_find_the_module_missing(written: _Written) -> None:
    written.load("import lingvo\n" + DECLARED + "app = Detector.bind()")
    assert "lingvo" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        __import__("lingvo")


def test_definitions_may_be_made_of_placeholders(written: _Written) -> None:
    head = """
import lingvo
from pydantic import BaseModel

lingvo.settings.fast = True
LANGUAGES = [lingvo.Language.EN, lingvo.Language.FR]
MODEL = lingvo.Builder(languages=LANGUAGES).build()

class Token(lingvo.Token):
    def text(self) -> str:
        return "text"

class Held(BaseModel):
    token: lingvo.Token | None = None

@lingvo.cached(size=10)
def helper(token: lingvo.Token, flags: list[lingvo.Flag] = lingvo.NONE) -> "lingvo.Token | int":
    return token

@lingvo.register
class Registered:
    pass

def is_known(value: object) -> bool:
    return isinstance(value, (int, lingvo.Token))
"""
    written.load(head + DECLARED + "app = Detector.bind()")
    module = written.module
    assert module.is_known(3)
    assert not module.is_known("3")
    assert module.Held().token is None
    assert isinstance(module.Registered(), module.Registered)
    for use in (
        module.Token,
        lambda: module.helper(1),
        lambda: module.MODEL.detect("x"),
        lambda: module.MODEL["x"],
        lambda: module.LANGUAGES[0] + 1,
        lambda: list(module.LANGUAGES[0]),
        lambda: bool(module.lingvo.FAST),
        lambda: setattr(module.lingvo, "fast", True),
        lambda: module.Held(token=1),
        lambda: pickle.dumps(module.MODEL),
    ):
        with pytest.raises(ModuleNotFoundError, match="No module named 'lingvo'"):
            use()


def test_a_constant_travels_by_name(written: _Written, monkeypatch: pytest.MonkeyPatch) -> None:
    written.load("from lingvo import Language\n" + DECLARED.replace("lingvo.detect", "Language") + "app = Detector.bind()")
    data = pickle.dumps(written.module.Language.EN)
    there = ModuleType("lingvo")
    vars(there)["Language"] = type("Language", (), {"EN": "english"})
    monkeypatch.setitem(sys.modules, "lingvo", there)
    assert pickle.loads(data) == "english"


def test_in_a_signature_it_is_a_fault_of_the_definition(written: _Written) -> None:
    text = """
import lingvo
from pydantic import BaseModel
class Held(BaseModel):
    token: lingvo.Token
class Wrong(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=("lingvo",)))
    def __init__(self, model: lingvo.Model) -> None: ...
    @motet.endpoint
    def one(self, text: lingvo.Token) -> str: ...
    @motet.endpoint
    def two(self, text: str) -> list[Held]: ...
app = Wrong.bind(1)
"""
    with pytest.raises(DefinitionError) as caught:
        written.load(text)
    faults = {fault.subject: fault for fault in caught.value.faults}
    assert set(faults) == {"Wrong.__init__", "Wrong.one", "Wrong.two"}
    assert all(
        "`lingvo`, which can't be imported" in fault.message and "install `lingvo`" in str(fault.instead) for fault in faults.values()
    )


def test_in_a_constructor_it_is_found_in_text_too(written: _Written) -> None:
    text = """
import lingvo
class Wrong(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=("lingvo",)))
    def __init__(self, model: "list[lingvo.Model]") -> None: ...
    @motet.endpoint
    def one(self, text: str) -> str: ...
app = Wrong.bind([])
"""
    with pytest.raises(DefinitionError, match="parameter `model` has a type of `lingvo`"):
        written.load(text)


def test_inline_refuses_who_would_use_it(written: _Written) -> None:
    graph = compile_graph(written.load("import lingvo\n" + DECLARED + "app = Detector.bind()"))

    async def run() -> None:
        engine = InlineEngine()
        await engine.start()
        await engine.deploy(graph)

    with pytest.raises(StartError, match="Detector uses it"):
        asyncio.run(run())


def test_who_names_a_placeholder_in_its_methods_is_known(written: _Written) -> None:
    text = """
import lingvo
def helper(text):
    return lingvo.detect(text)
class Direct(motet.Service):
    config = motet.Config(environment=motet.Environment(pip=("lingvo",)))
    def __init__(self) -> None:
        self.f = lambda: lingvo.detect
    @motet.endpoint
    def f(self, text: str) -> str: return text
class Indirect(motet.Service):
    @motet.endpoint
    async def f(self, text: str) -> str: return helper(text)
class Decorated(motet.Service):
    @motet.endpoint
    @lingvo.inference_mode()
    async def f(self, text: str) -> str: return text
class Free(motet.Service):
    def __init__(self, direct: Direct) -> None: ...
    @motet.endpoint
    def f(self, text: str) -> str: return str(isinstance(text, Direct))
app = Free.bind(Direct.bind())
"""
    written.load(text)
    module = written.module
    assert module.Decorated.__motet_definition__.endpoints["f"].is_async
    assert [used_by(cls) is not None for cls in (module.Direct, module.Indirect, module.Decorated, module.Free)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_failing_file_of_the_user_s_own_is_loaded_once_in_the_end(written: _Written, tmp_path: Path) -> None:
    (tmp_path / f"{written.name}_helper.py").write_text("import lingvo\nclass Shared: ...\n")
    head = f"from {written.name}_helper import Shared\nimport other_missing\nimport {written.name}_helper\nlingvo = 1\n"
    written.load(head + DECLARED + "app = Detector.bind()")
    assert written.module.Shared is sys.modules[f"{written.name}_helper"].Shared


def test_a_raised_import_error_is_no_missing_module(written: _Written) -> None:
    with pytest.raises(TargetError, match="too old"):
        written.load(DECLARED + "app = Detector.bind()\nraise ImportError('too old')")


def test_modules_of_the_user_s_own_package_are_not_replaced(written: _Written) -> None:
    with pytest.raises(TargetError, match=r"cannot import name|relative import"):
        written.load("from . import nothing\n" + DECLARED + "app = Detector.bind()")


def test_loading_elsewhere_needs_no_declaration_and_reports_nothing_of_others(tmp_path: Path) -> None:
    file = tmp_path / f"absent_app_{next(_numbers)}.py"
    file.write_text("import motet\nimport lingvo\nclass A(motet.Service):\n @motet.endpoint\n def f(self, x: lingvo.T) -> str: ...\n")
    loading = Loading(elsewhere=True)
    loading.run(lambda: exec(compile(file.read_bytes(), str(file), "exec"), {"__file__": str(file), "__name__": "__main__"}))
    loading.settle(None)
