"""Apps are put together from nodes: dependencies, contexts, sharing, fakes, several apps."""

import pytest
from assembly import Asks, Aware, Counter, FakeLeaf, Leaf, LoudLeaf, Own, Pair, QuietLeaf, Team, Users, WithDefault

import motet

pytestmark = pytest.mark.anyio


async def test_dependencies_in_containers(start):
    """Dependencies may be in lists and dicts, and be taken as a Protocol."""
    team = Team.bind([Leaf.bind("a"), Leaf.bind("b")], {"c": Leaf.bind("c")}, lead=FakeLeaf.bind())
    assert await (await start(team)).names() == ["a", "b", "c", "fake"]


async def test_dependency_as_default(start):
    """A dependency that is the default of a parameter needn't be bound, and may be."""
    assert await (await start(WithDefault.bind())).name() == "default"
    assert await (await start(WithDefault.bind(Leaf.bind("other")))).name() == "other"


async def test_inherited_and_overridden_endpoints(start):
    """A subclass inherits endpoints, overrides them, and takes them away."""
    loud = await start(LoudLeaf.bind("x"))
    assert await loud.who() == "X"
    assert await loud.own() == "X!"
    quiet = await start(QuietLeaf.bind())
    assert await quiet.visible() == "hidden"
    with pytest.raises(AttributeError, match="who"):
        quiet.who()


async def test_subclass_as_dependency(start):
    """A node of a subclass may stand where its base is asked for."""
    assert await (await start(Pair.bind(Leaf.bind("a"), LoudLeaf.bind("b")))).names() == ["a", "B"]


async def test_context_is_injected(start):
    """A constructor that asks for a Context gets one with the app, the node and a folder of its own."""
    aware = await start(Aware.bind("w").options(name="knower"), name="aware-app")
    where = await aware.where()
    assert where["app"] == "aware-app"
    assert where["service"] == "knower"
    assert where["word"] == "w"
    assert where["replica"]
    assert await aware.writes()


async def test_equal_nodes_are_one(start, gate):
    """Two equal nodes share one instance; unequal ones don't."""
    constructed, other = gate("constructed"), gate("other")
    shared = await start(Users.bind(Counter.bind(constructed), Counter.bind(constructed)))
    assert await shared.both() == [1, 2]
    assert constructed.count() == 1
    apart = await start(Users.bind(Counter.bind(other), Counter.bind(other).options(concurrency=2)))
    assert await apart.both() == [1, 1]


async def test_named_nodes_are_apart(start, gate):
    """Equal nodes with different names are different nodes."""
    constructed = gate("constructed")
    node = Counter.bind(constructed)
    users = await start(Users.bind(node.options(name="one"), node.options(name="two")))
    assert await users.both() == [1, 1]


async def test_apps_share_equal_nodes(running, gate):
    """Two apps of one engine share an equal node, and it lives as long as one of them."""
    constructed = gate("constructed")
    node = Counter.bind(constructed)
    async with running(node) as first:
        assert await first.next() == 1
        async with running(Users.bind(node, node)) as second:
            assert await second.both() == [2, 3]
        assert await first.next() == 4
    assert constructed.count() == 1


async def test_several_apps(running):
    """Several named apps run at once and end apart."""
    async with running(Leaf.bind("a"), name="app-a") as a:
        async with running(Leaf.bind("b"), name="app-b") as b:
            assert [await a.who(), await b.who()] == ["a", "b"]
        assert await a.who() == "a"
        with pytest.raises(motet.Unavailable):
            await b.who()


async def test_app_name_is_taken(running):
    """A second app of the same name is refused; the first runs on."""
    async with running(Leaf.bind("a"), name="twice") as a:
        with pytest.raises(motet.MotetError, match="twice"):
            async with running(Leaf.bind("b"), name="twice"):
                pass
        assert await a.who() == "a"


async def test_app_can_be_started_again(running):
    """A name is free again once its app was stopped."""
    for word in ("a", "b"):
        async with running(Leaf.bind(word), name="again") as app:
            assert await app.who() == word


def test_status_and_delete(running, engine):
    """`status` tells what runs, `delete` ends it."""
    handle = running(Pair.bind(Leaf.bind("a"), Leaf.bind("b")), name="to-delete", route="/there").start()
    server = next(s for s in motet.status().result() if any(app.name == "to-delete" for app in s.apps))
    assert server.engine == engine
    app = next(app for app in server.apps if app.name == "to-delete")
    assert (app.route, app.root) == ("/there", "Pair")
    assert {node.service for node in app.nodes} == {"Pair", "Leaf"}
    assert all(replica.state == "ready" for node in app.nodes for replica in node.replicas)
    motet.delete("to-delete").result()
    assert not any(app.name == "to-delete" for s in motet.status().result() for app in s.apps)
    with pytest.raises(motet.Unavailable):
        handle.names().result()
    with pytest.raises(motet.NotFound):
        motet.delete("to-delete")


async def test_replace(start):
    """`replace` puts a fake in the place of every node of a class."""
    app = Team.bind([Leaf.bind("a"), LoudLeaf.bind("b")], {"c": Leaf.bind("c")}, lead=Leaf.bind("d"))
    assert await (await start(motet.replace(app, Leaf, FakeLeaf.bind()))).names() == ["fake"] * 4
    assert await (await start(motet.replace(app, LoudLeaf, FakeOf.bind()))).names() == ["a", "of", "c", "d"]
    assert await (await start(app)).names() == ["a", "B", "c", "d"]


class FakeOf(motet.Service):
    """Has the endpoints of a LoudLeaf."""

    @motet.endpoint
    def who(self) -> str:
        return "of"

    @motet.endpoint
    async def own(self) -> str:
        return "of!"


async def test_constructor_calls_a_dependency(start):
    """A constructor may call what it depends on with `.result()`, and `start` with `await`."""
    assert await (await start(Asks.bind(Leaf.bind("early")))).names() == ["early", "early"]


@pytest.fixture(scope="module")
async def own(start_shared):
    return await start_shared(Own.bind())


async def test_own_endpoints(own):
    """An instance calls its own endpoints of every kind, from async and sync ones, in the caller's slot."""
    assert await own.all_async(1) == [2, 2, 2, 0, 1, 0, 1]
    assert await own.all_sync(1) == [2, 2, 2, 0, 1, 0, 1]
    assert await own.recursive(5) == 120
    assert await own.gathered(3) == [1, 2, 3, 1, 2, 3]


async def test_own_errors(own):
    """Errors of one's own endpoints, and `Failed` items, are raised where the call is awaited."""
    assert await own.fails(1) == "ValueError -1"


async def test_own_calls_copy_nothing(own):
    """A call of one's own passes the objects themselves."""
    assert await own.same_object() is True


async def test_node_cannot_be_called(start):
    """Calling an endpoint of a node that doesn't run says how to run it."""
    with pytest.raises(motet.UsageError, match=r"motet\.run"):
        Leaf.bind().who()
