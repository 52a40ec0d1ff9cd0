"""The engines that the suite runs on, and what every test of it starts apps with.

A new engine adds its name to `ENGINES`; no test names an engine.
"""

import contextlib
import importlib.util
import itertools

import pytest

import motet
from motet.testing import Gate

ENGINES = ["inline", *(["local"] if importlib.util.find_spec("motet.engines.local.engine") else [])]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    """The name of the engine under test."""
    return request.param


@contextlib.asynccontextmanager
async def _starter(engine):
    async with contextlib.AsyncExitStack() as stack:

        async def start(app, **options):
            options.setdefault("name", f"app-{next(_numbers)}")
            return await stack.enter_async_context(motet.run(app, engine=engine, **options))

        yield start


@pytest.fixture
async def start(engine):
    """Start an app and return its handle; it is stopped after the test."""
    async with _starter(engine) as start:
        yield start


@pytest.fixture(scope="module")
async def start_shared(engine):
    """Start an app that all tests of the module use."""
    async with _starter(engine) as start:
        yield start


@pytest.fixture
def running(engine):
    """Return `motet.run` on the engine under test, for tests that start and stop by themselves."""

    def run(app, **options):
        options.setdefault("name", f"app-{next(_numbers)}")
        return motet.run(app, engine=engine, **options)

    return run


@pytest.fixture
def gate():
    """Make gates; they are closed after the test, before its apps are stopped."""
    with contextlib.ExitStack() as stack:
        yield lambda name="gate": stack.enter_context(Gate(name))
