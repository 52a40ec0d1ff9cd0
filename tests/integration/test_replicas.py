"""What only several replicas, each a process, can show."""

import pytest

import motet
from motet.testing import Gate

pytestmark = pytest.mark.anyio


class Sick(motet.Service):
    """Says that it is unavailable, as a service that lost its backend might."""

    config = motet.Config(replicas=2)

    def __init__(self, begun: Gate) -> None:
        self.begun = begun

    @motet.endpoint
    def ask(self) -> int:
        self.begun.reached()
        message = "the backend is gone"
        raise motet.Unavailable(message)

    @motet.endpoint
    async def ask_async(self) -> int:
        self.begun.reached()
        message = "stopping for today"
        raise motet.ShuttingDown(message)


@pytest.fixture
def gate():
    with Gate() as gate:
        yield gate


async def test_own_error_of_an_endpoint_is_not_retried(gate):
    """An endpoint that raises what a stopping replica answers with has run, and isn't run again elsewhere."""
    async with motet.run(Sick.bind(gate)) as sick:
        with pytest.raises(motet.Unavailable, match="backend"):
            await sick.ask()
        with pytest.raises(motet.ShuttingDown, match="today"):
            await sick.ask_async()
    assert gate.count() == 2
