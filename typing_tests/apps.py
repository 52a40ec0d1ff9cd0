"""Running apps: the handle has the type of the root."""

from __future__ import annotations

from typing import assert_type

import motet
from services import Found, Kinds, Question, Search


def sync(app: Search) -> None:
    assert_type(motet.run(app), motet.Running[Search])
    with motet.run(app) as search:
        assert_type(search, Search)
        assert_type(search.ask(Question(text="x")).result(), Found)
    with motet.run(app, engine="inline", name="search", route="/search") as search, motet.run(Kinds.bind(), name="kinds", port=0) as kinds:
        assert_type(search, Search)
        assert_type(kinds.plain(1).result(), int)


async def asynchronous(app: Search) -> None:
    async with motet.run(app, engine="local") as search:
        assert_type(search, Search)
        assert_type(await search.ask(Question(text="x")), Found)


def by_hand(app: Search) -> None:
    running = motet.run(app)
    assert_type(running.start(), Search)
    running.stop()
    motet.delete("search").result()
    for server in motet.status().result():
        assert_type(server.engine, str)


async def by_hand_async(app: Search) -> None:
    search = await motet.run(app)
    assert_type(search, Search)
    assert_type(await motet.delete(), None)
    for server in await motet.status():
        assert_type(server.engine, str)


def connected() -> None:
    assert_type(motet.connect("http://127.0.0.1:8000", Search), motet.Connected[Search])
    with motet.connect("http://127.0.0.1:8000/search", Search, api_key="secret") as search:
        assert_type(search, Search)
        assert_type(search.ask(Question(text="x")).result(), Found)
        assert_type(search.options(timeout=1).ask(Question(text="x")).result(), Found)
    assert_type(motet.connect("http://127.0.0.1:8000", Kinds).start().plain(1).result(), int)


async def connected_async() -> None:
    async with motet.connect("http://127.0.0.1:8000", Search) as search:
        assert_type(await search.ask(Question(text="x")), Found)
    assert_type(await motet.connect("http://127.0.0.1:8000", Search), Search)
