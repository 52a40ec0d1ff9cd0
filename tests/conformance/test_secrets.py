"""Secrets go to the services that name them and to nobody else, on every engine; what leaves a service doesn't show them."""

from collections.abc import AsyncIterator

import httpx
import pytest

import motet

pytestmark = pytest.mark.anyio

TOKEN, OTHER = "MOTET_TEST_TOKEN", "MOTET_TEST_OTHER"
VALUE = "hunter2-in-the-open"


class Refused(Exception):
    def __init__(self, text: str, token: str) -> None:
        super().__init__(text)
        self.token = token


class Keeper(motet.Service):
    config = motet.Config(assets=motet.Assets(secrets=[TOKEN]))

    def __init__(self, context: motet.Context = motet.injected) -> None:
        self.context = context

    @motet.endpoint
    def known(self) -> dict[str, str]:
        return dict(self.context.secrets)

    @motet.endpoint
    def environment(self) -> dict[str, str]:
        return dict(self.context.environment)

    @motet.endpoint
    def fail(self) -> int:
        token = self.context.secrets[TOKEN]
        try:
            {}[token]
        except KeyError as error:
            message = f"no access with {token}"
            raise Refused(message, token) from error

    @motet.endpoint
    async def stream(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError(self.context.secrets[TOKEN])


class Pair(Keeper):
    config = motet.Config(assets=motet.Assets(secrets=[TOKEN, OTHER]))


class Caller(motet.Service):
    config = motet.Config(environment=motet.Environment(env={"MODE": "fast"}))

    def __init__(self, keeper: Keeper, context: motet.Context = motet.injected) -> None:
        self.keeper = keeper
        self.context = context

    @motet.endpoint
    async def known(self) -> list[dict[str, str]]:
        return [dict(self.context.secrets), await self.keeper.known()]

    @motet.endpoint
    async def environment(self) -> list[dict[str, str]]:
        return [dict(self.context.environment), await self.keeper.environment()]

    @motet.endpoint
    async def fail(self) -> int:
        return await self.keeper.fail()

    @motet.endpoint
    async def stream(self) -> AsyncIterator[int]:
        async for item in self.keeper.stream():
            yield item


class Refusing(motet.Service):
    config = motet.Config(assets=motet.Assets(secrets=[TOKEN]))

    def __init__(self, context: motet.Context = motet.injected) -> None:
        message = f"no access with {context.secrets[TOKEN]}"
        raise PermissionError(message)

    @motet.endpoint
    def f(self) -> int:
        return 1


async def test_who_names_a_secret_gets_it(start):
    caller = await start(Caller.bind(Keeper.bind()), secrets={TOKEN: VALUE, OTHER: "not asked for"})
    assert await caller.known() == [{}, {TOKEN: VALUE}]


async def test_from_the_environment(start, monkeypatch):
    monkeypatch.setenv(TOKEN, VALUE)
    caller = await start(Caller.bind(Keeper.bind()))
    assert await caller.known() == [{}, {TOKEN: VALUE}]


async def test_from_files(start, tmp_path):
    """A folder with a file for each, and a `.env` file, whose other variables all services get."""
    folder, env_file = tmp_path / "secrets", tmp_path / ".env"
    folder.mkdir()
    (folder / OTHER).write_text("of folder\n")
    env_file.write_text(f"{TOKEN}={VALUE}\nREGION=eu\nMODE=slow\n")
    for file in (folder / OTHER, env_file):
        file.chmod(0o600)
    caller = await start(Caller.bind(Pair.bind()), secrets=folder, env_file=env_file)
    assert await caller.known() == [{}, {TOKEN: VALUE, OTHER: "of folder"}]
    assert await caller.environment() == [{"REGION": "eu", "MODE": "fast"}, {"REGION": "eu", "MODE": "slow"}]


async def test_missing_ones_are_refused_together(start, running, monkeypatch):
    """Nothing of the app is left, and the others run on."""
    for name in (TOKEN, OTHER):
        monkeypatch.delenv(name, raising=False)
    other = await start(Caller.bind(Keeper.bind()), secrets={TOKEN: VALUE})
    with pytest.raises(motet.StartError) as caught:
        await running(Caller.bind(Pair.bind()), name="missing")
    assert caught.value.message == f"2 secrets are missing: {TOKEN}, which Pair needs; {OTHER}, which Pair needs"
    assert __file__ in caught.value.where
    assert "environment" in caught.value.found
    assert f"export {TOKEN}=" in caught.value.instead
    assert "missing" not in [app.name for server in await motet.status() for app in server.apps]
    assert await other.known() == [{}, {TOKEN: VALUE}]


async def test_file_that_is_not_there(running, tmp_path):
    with pytest.raises(motet.StartError, match="can't be read") as caught:
        await running(Keeper.bind(), secrets=tmp_path / "nothing")
    assert caught.value.where == str(tmp_path / "nothing")


async def test_equal_nodes_with_other_secrets_are_others(start):
    """Those with the same are shared."""
    app = Caller.bind(Keeper.bind())
    handles = [await start(app, secrets={TOKEN: value}) for value in (VALUE, VALUE, "another value")]
    found = [(await handle.known())[1][TOKEN] for handle in handles]
    assert found == [VALUE, VALUE, "another value"]
    nodes = [node for server in await motet.status() for app in server.apps for node in app.nodes]
    identities = {replica.identity for node in nodes for replica in node.replicas}
    assert identities == {"Caller#1", "Caller-2#1", "Keeper#1", "Keeper-2#1"}


async def test_errors(start):
    """An exception arrives as what it is, without the value: in message, attributes, causes and notes."""
    caller = await start(Caller.bind(Keeper.bind()), secrets={TOKEN: VALUE})
    with pytest.raises(Refused) as caught:
        await caller.fail()
    assert (str(caught.value), caught.value.token) == ("no access with ***", "***")
    assert VALUE not in "\n".join(caught.value.__notes__)
    assert "KeyError: '***'" in "\n".join(caught.value.__notes__)


async def test_errors_over_http(serve, monkeypatch):
    monkeypatch.setenv(TOKEN, VALUE)
    client = await serve(Caller.bind(Keeper.bind()))
    answer = await client.post("/fail")
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "no access with ***")
    answer = await client.post("/stream", headers={"accept": "text/event-stream"})
    assert VALUE not in answer.text
    assert "***" in answer.text


async def test_errors_at_the_start(running):
    with pytest.raises(motet.StartError, match=r"PermissionError: no access with \*\*\*") as caught:
        await running(Refusing.bind(), secrets={TOKEN: VALUE})
    error = caught.value
    while error is not None:
        assert VALUE not in f"{error} {getattr(error, '__notes__', '')}"
        error = error.__cause__


async def test_secrets_that_are_no_text(running):
    with pytest.raises(motet.UsageError, match=TOKEN):
        running(Keeper.bind(), secrets={TOKEN: 1})


async def test_in_a_web_application(engine):
    """`motet.asgi` takes secrets as `motet.run` does."""
    models = motet.asgi(Caller.bind(Keeper.bind()), engine=engine, secrets={TOKEN: VALUE})
    async with models.lifespan(), httpx.AsyncClient(transport=httpx.ASGITransport(models), base_url="http://app") as client:
        assert (await client.post("/known")).json() == [{}, {TOKEN: VALUE}]
