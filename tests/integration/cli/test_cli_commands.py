"""`motet` without a server: help, wrong uses, check, graph."""

import json

import pytest

APP = """
import motet

class Detector(motet.Service):
    config = motet.Config(replicas=2)

    def __init__(self, languages: list[str]) -> None:
        raise RuntimeError("nothing is constructed")

    @motet.endpoint
    def language(self, text: str) -> str: ...

class Index(motet.Service):
    def __init__(self, detector: Detector) -> None: ...

    @motet.endpoint
    def nearest(self, text: str, top: int = 3) -> list[str]: ...

class Search(motet.Service):
    def __init__(self, detector: Detector, index: Index) -> None: ...

    @motet.endpoint
    async def ask(self, text: str) -> list[str]: ...

detector = Detector.bind(["en"])
app = Search.bind(detector, Index.bind(detector))
"""

FAULTY = """
import motet

class First(motet.Service):
    @motet.endpoint
    def one(self, text) -> str: ...

class Second(motet.Service):
    @motet.endpoint
    def docs(self, text: str): ...

app = Second.bind()
"""


@pytest.fixture
def app(program):
    program.write("app.py", APP)
    return program


def failure(done):
    """Return what a failed command said."""
    assert "Traceback" not in done.stderr
    assert done.returncode != 0
    return done.stderr


class TestProgram:
    def test_version(self, program):
        done = program.run("version")
        assert done.stdout.startswith("motet ")
        assert done.returncode == 0

    def test_help_explains_a_target_and_lists_the_commands(self, program):
        text = program.run("--help").stdout
        assert "app.py:app" in text
        assert all(f"\n  {name} " in text for name in ("serve", "check", "graph", "call", "ps", "version"))

    @pytest.mark.parametrize("command", ["serve", "check", "graph", "call", "ps", "version"])
    def test_help_of_each_command_has_an_example(self, program, command):
        assert f"motet {command}" in program.run(command, "--help").stdout.partition("Example")[2]

    def test_an_unknown_command_names_the_near_one(self, program):
        assert failure(program.run("serv")) == "error: there is no command 'serv'\n  instead: motet serve\n"

    def test_an_unknown_option_names_the_near_one(self, program):
        assert failure(program.run("graph", "app.py:app", "--fromat", "json")) == "error: no such option '--fromat'\n  instead: --format\n"

    def test_a_missing_target_is_asked_for(self, program):
        assert failure(program.run("check")) == "error: which app?\n  instead: motet check app.py:app\n"


class TestCheck:
    def test_a_right_app(self, app):
        done = app.run("check", "app.py:app")
        assert done.stdout.splitlines()[:2] == ["ok: 3 services, 3 endpoints", "  POST /ask  Search.ask(text: str) -> list[str]"]
        assert done.returncode == 0

    def test_all_faults_of_classes_and_graph_come_together(self, program):
        program.write("app.py", FAULTY)
        said = failure(program.run("check", "app.py:app"))
        assert "3 faults in the definition" in said
        assert "app.py:5 (First.one): parameter `text` has no annotation" in said
        assert "app.py:9 (Second.docs): the return value has no annotation" in said
        assert "the path /docs is reserved" in said

    def test_faults_come_before_what_follows_from_them(self, program):
        program.write("app.py", FAULTY.replace("app = ", "app = undefined or "))
        said = failure(program.run("check", "app.py:app"))
        assert "app.py:5 (First.one): parameter `text` has no annotation" in said
        assert "app.py:9 (Second.docs): the return value has no annotation" in said

    def test_an_argument_that_cannot_travel(self, program):
        program.write(
            "app.py",
            APP.replace('Detector.bind(["en"])', "Detector.bind((item for item in []))").replace(
                "languages: list[str]", "languages: object"
            ),
        )
        assert "an argument of Detector can't be given to another process" in failure(program.run("check", "app.py:app"))

    def test_a_module(self, program):
        program.write("package/__init__.py", "")
        program.write("package/inner.py", APP)
        assert program.run("check", "package.inner:app").returncode == 0


class TestGraph:
    def test_tree(self, app):
        assert app.run("graph", "app.py:app").stdout.splitlines() == [
            "app default at /",
            "Search  [ask]",
            "├── detector: Detector  x2  [language]",
            "└── index: Index  [nearest]",
            "    └── detector: Detector  x2  [language]",
        ]

    def test_mermaid(self, app):
        assert app.run("graph", "app.py:app", "--format", "mermaid").stdout.splitlines() == [
            "flowchart LR",
            '    n0["Detector<br/>x2"]',
            '    n1["Index"]',
            '    n2["Search"]',
            '    http(("HTTP /")) --> n2',
            "    n1 -->|detector| n0",
            "    n2 -->|detector| n0",
            "    n2 -->|index| n1",
        ]

    def test_json(self, app):
        graph = json.loads(app.run("graph", "app.py:app", "--format", "json", "--route", "/search").stdout)
        assert graph["root"] == "Search"
        assert graph["paths"] == {"ask": "/search/ask"}
        nodes = {node["name"]: node for node in graph["nodes"]}
        assert list(nodes) == ["Detector", "Index", "Search"]
        assert nodes["Search"]["dependencies"] == {"detector": [{"node": "Detector"}], "index": [{"node": "Index"}]}
        assert nodes["Index"]["endpoints"][0]["signature"] == "(text: str, top: int = 3) -> list[str]"
        assert nodes["Detector"]["config"] == {"replicas": 2}
