"""Nodes become graphs: names, merging, cycles, routes."""

import pytest

import motet
from motet.binding import Node
from motet.errors import DefinitionError, UsageError
from motet.graph import compile_graph, endpoint_paths


class Leaf(motet.Service):
    def __init__(self, word: str = "w") -> None: ...

    @motet.endpoint
    def f(self) -> str:
        return "f"


class Branch(motet.Service):
    def __init__(self, first: Leaf, second: Leaf) -> None: ...

    @motet.endpoint
    def f(self) -> str:
        return "f"


class Docs(motet.Service):
    @motet.endpoint
    def docs(self) -> str:
        return "d"

    @motet.endpoint
    def metrics(self) -> str:
        return "m"


class Called(motet.Service):
    @motet.endpoint
    def __call__(self) -> str:
        return "c"

    @motet.endpoint
    def other(self) -> str:
        return "o"


def names(app):
    return list(compile_graph(app).nodes)


def test_dependencies_come_first():
    """Nodes are in dependency order, the root last."""
    graph = compile_graph(Branch.bind(Leaf.bind("a"), Leaf.bind("b")))
    assert list(graph.nodes) == ["Leaf", "Leaf-2", "Branch"]
    assert graph.root == "Branch"


def test_equal_nodes_merge():
    """Nodes with equal class, arguments and options are one."""
    assert names(Branch.bind(Leaf.bind("a"), Leaf.bind("a"))) == ["Leaf", "Branch"]
    node = Leaf.bind("a")
    assert names(Branch.bind(node, node)) == ["Leaf", "Branch"]


@pytest.mark.parametrize("other", [Leaf.bind("b"), Leaf.bind("a").options(concurrency=2), Leaf.bind("a").options(name="x")])
def test_unequal_nodes_stay_apart(other):
    """Other arguments, other options or another name make another node."""
    graph = compile_graph(Branch.bind(Leaf.bind("a"), other))
    assert len(graph.nodes) == 3
    assert len({node.identity for node in graph.nodes.values()}) == 3


def test_depending_on_unequal_nodes_makes_unequal():
    """A node's identity covers those that it depends on."""
    one = compile_graph(Branch.bind(Leaf.bind("a"), Leaf.bind("a")))
    two = compile_graph(Branch.bind(Leaf.bind("a"), Leaf.bind("b")))
    assert one.nodes["Branch"].identity != two.nodes["Branch"].identity


def test_identity_is_reproducible():
    """Compiling the same app again gives the same identities."""
    app = Branch.bind(Leaf.bind("a"), Leaf.bind("b"))
    assert [n.identity for n in compile_graph(app).nodes.values()] == [n.identity for n in compile_graph(app).nodes.values()]


def test_explicit_names():
    """A name that the user gave is kept, and generated ones avoid it."""
    assert names(Branch.bind(Leaf.bind("a").options(name="Leaf-2"), Leaf.bind("b"))) == ["Leaf-2", "Leaf", "Branch"]


def test_clashing_names():
    """Two unequal nodes of one explicit name are a fault that shows both places."""
    with pytest.raises(DefinitionError, match="'same'") as caught:
        compile_graph(Branch.bind(Leaf.bind("a").options(name="same"), Leaf.bind("b").options(name="same")))
    (fault,) = caught.value.faults
    assert "test_graph.py" in fault.found


def test_clash_with_a_generated_name():
    """An explicit name wins over a generated one, whichever comes first."""
    found = names(Branch.bind(Leaf.bind("a"), Leaf.bind("b").options(name="Leaf")))
    assert len(found) == len(set(found)) == 3


def test_cycle():
    """A cycle is a fault that shows the way round."""
    leaf = Leaf.bind("a")
    branch = Branch.bind(leaf, leaf)
    branch.arguments["first"] = branch
    with pytest.raises(DefinitionError, match="cycle") as caught:
        compile_graph(branch)
    assert caught.value.faults[0].found == "Branch -> Branch"


@pytest.mark.parametrize("route", ["", "x", "/x/", "//", "/a b", "/a?b"])
def test_malformed_routes(route):
    """A route is `/` or `/name`."""
    with pytest.raises(DefinitionError, match="malformed"):
        compile_graph(Leaf.bind(), route=route)


@pytest.mark.parametrize("route", ["/docs", "/v1", "/healthz", "/jobs/x"])
def test_reserved_routes(route):
    """Motet's own paths can't be routes."""
    with pytest.raises(DefinitionError, match="reserved"):
        compile_graph(Leaf.bind(), route=route)


def test_reserved_endpoint_paths():
    """At the route `/` an endpoint can't have a reserved name; elsewhere it can. All clashes are shown."""
    with pytest.raises(DefinitionError) as caught:
        compile_graph(Docs.bind(), route="/")
    assert len(caught.value.faults) == 2
    assert {fault.place for fault in caught.value.faults} == {endpoint.place for endpoint in Docs.bind().definition.endpoints.values()}
    assert compile_graph(Docs.bind(), route="/x").route == "/x"


def test_paths():
    """Endpoints are under the route, `__call__` is the route itself."""
    definition = compile_graph(Called.bind()).nodes["Called"].definition
    assert endpoint_paths("/", definition) == {"__call__": "/", "other": "/other"}
    assert endpoint_paths("/a", definition) == {"__call__": "/a", "other": "/a/other"}


@pytest.mark.parametrize("app", [Leaf, "text", None])
def test_what_is_no_app(app):
    """Something that isn't bound is refused with what to write."""
    with pytest.raises(UsageError, match="bind"):
        compile_graph(app)


def test_replace_says_what_is_missing():
    """A fake without an endpoint, and a class that isn't there, are errors."""
    app = Branch.bind(Leaf.bind("a"), Leaf.bind("b"))
    with pytest.raises(UsageError, match="no endpoint f"):
        motet.replace(app, Leaf, Docs.bind())
    with pytest.raises(UsageError, match="no node of Docs"):
        motet.replace(app, Docs, Docs.bind())
    assert isinstance(motet.replace(app, Leaf, Leaf.bind("c")), Node)
