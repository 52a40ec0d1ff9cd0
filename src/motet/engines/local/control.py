"""Control: what the supervisor and its processes tell each other, over one owner-only Unix socket each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from struct import Struct
from typing import Literal

import msgspec

from motet.engines.interface import Placement, ServerStatus
from motet.engines.local.plan import AppPlan, NodePlan, Recipe
from motet.errors import MotetError
from motet.gateway.routes import AppRoutes
from motet.linux import peer_is_own, peer_pid
from motet.runtime.plans import HandleSpec
from motet.secret_sources import Sources
from motet.wire.failure import Failure

_LENGTH = Struct("<I")
MAX_MESSAGE = 2**30


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of all control messages."""


# -- from the processes to the supervisor ------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """The first message of a connection: who is there."""

    role: Literal["replica", "gateway", "client", "visitor"]
    identity: str
    pid: int


class Ready(Message, frozen=True):
    """A replica, or the gateway, takes requests."""


class Failed(Message, frozen=True):
    """A replica couldn't start."""

    failure: Failure


class Busy(Message, frozen=True):
    """How many requests run or wait in a replica."""

    count: int


class Drained(Message, frozen=True):
    """A replica, or the gateway, has answered everything it had."""


class Deploy(Message, frozen=True):
    """A client asks for an app."""

    number: int
    plan: AppPlan
    recipe: Recipe
    sources: Sources


class Delete(Message, frozen=True):
    """A client asks to stop an app."""

    number: int
    app: str


class AskStatus(Message, frozen=True):
    """Somebody asks what runs."""

    number: int


class Shutdown(Message, frozen=True):
    """A client asks to stop everything."""

    number: int


# -- from the supervisor -----------------------------------------------------------------------------------------------


class Entrusted(Message, frozen=True):
    """The first message to a replica: its secrets, and the variables that all services get.

    They take this way because a zygote that has held a value would pass it on to all that it forks.
    """

    secrets: dict[str, str]
    variables: dict[str, str]

    def __repr__(self) -> str:
        return f"Entrusted(secrets={sorted(self.secrets)}, variables={sorted(self.variables)})"


class ReplicaAddress(msgspec.Struct, frozen=True):
    """Where a replica listens."""

    identity: str
    path: str


class Routed(Message, frozen=True):
    """The replicas of a node that take requests, or why there will be none; and why some of them are about to be ended."""

    address: str
    replicas: tuple[ReplicaAddress, ...]
    broken: str | None = None
    ending: dict[str, str] = {}  # why, by identity


class Apps(Message, frozen=True):
    """What the gateway serves, and which of it isn't ready."""

    routes: tuple[AppRoutes, ...]
    not_ready: dict[str, str]  # why, by address


class Accept(Message, frozen=True):
    """On which of the listening sockets a gateway takes connections: its own, and those of others that are down."""

    sockets: tuple[int, ...]


class Count(Message, frozen=True):
    """Say now how many requests run or wait."""


class Drain(Message, frozen=True):
    """Take nothing new and finish what runs, within so many seconds."""

    timeout: float


class Stop(Message, frozen=True):
    """End."""


class Answer(Message, frozen=True):
    """The answer to a client's request."""

    number: int
    failure: Failure | None = None
    handle: HandleSpec | None = None
    status: ServerStatus | None = None


# -- between the supervisor and the stem -------------------------------------------------------------------------------


class WantedZygote(msgspec.Struct, frozen=True):
    """A zygote that is wanted; its end of the connection comes along, over which it gets its variables itself."""

    folder: str
    supervisor: int
    variables: tuple[str, ...]  # their names
    environment: str | None = None  # folder of a virtual environment
    python: str | None = None


pack_wanted = msgspec.msgpack.Encoder().encode
unpack_wanted = msgspec.msgpack.Decoder(WantedZygote).decode


# -- between the supervisor and a zygote -------------------------------------------------------------------------------


class Variables(Message, frozen=True):
    """The first message to a zygote that is forked: its environment variables, which nobody else has to know."""

    values: dict[str, str]

    def __repr__(self) -> str:
        return f"Variables({sorted(self.values)})"


class Load(Message, frozen=True):
    """Get to the user's code; for a target also compile it."""

    recipe: Recipe
    use_main: bool
    app: str = "default"
    route: str = "/"
    classes: tuple[str, ...] = ()  # that must be importable afterwards
    environment: str | None = None  # name of the one that the process has; None for the server's own
    services: dict[str, str] = {}  # that will run there, by name; the name of the class of each
    secrets: tuple[str, ...] = ()  # names that are taken out of the environment then, with those that the target names


class Loaded(Message, frozen=True):
    """The code is there. `hazard` says why replicas can't be forked from here, `files` what was imported of the user's."""

    plan: AppPlan | None
    hazard: str | None
    files: tuple[str, ...] = ()


class LoadFailed(Message, frozen=True):
    """The code can't be loaded."""

    failure: Failure


class Spawn(Message, frozen=True):
    """Make a replica: fork it, or become it."""

    identity: str
    address: str
    app: str
    node: NodePlan
    handles: dict[str, HandleSpec]
    control: str
    socket: str
    data: str
    supervisor: int
    environment: str | None
    working_dir: str | None
    placement: Placement
    assets: dict[str, str]
    fork: bool = True


class Spawned(Message, frozen=True):
    """The process of a replica."""

    identity: str
    pid: int


ControlMessage = (
    Hello | Ready | Failed | Busy | Drained | Deploy | Delete | AskStatus | Shutdown | Routed | Apps | Accept | Count | Drain | Stop
    | Answer | Entrusted | Load | Loaded | LoadFailed | Spawn | Spawned | Variables
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ControlMessage).decode


def pack_message(message: ControlMessage) -> bytes:
    """Return a message as it travels."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def unpack_message(body: bytes) -> ControlMessage:
    """Return the message of a body without its length."""
    message: ControlMessage = _decode(body)
    return message


def message_length(prefix: bytes) -> int:
    """Return the length that a prefix announces.

    Raises:
        MotetError: it is over the limit.
    """
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_MESSAGE:
        message = f"a control message of {length} bytes is over the limit"
        raise MotetError(message)
    return int(length)


PREFIX_SIZE = _LENGTH.size


class ControlConnection:
    """One end of a control connection: `send` messages, and iterate over those that come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_own(self) -> bool:
        """Whether the other end runs under this process's user."""
        return peer_is_own(self._writer.get_extra_info("socket"))

    @property
    def peer(self) -> int:
        """The id of the process that has connected, as the kernel knows it."""
        return peer_pid(self._writer.get_extra_info("socket"))

    def send(self, message: ControlMessage) -> None:
        """Send a message; what is sent to a connection that has ended is dropped, its reader hears of the end."""
        if not self._writer.is_closing():
            self._writer.write(pack_message(message))

    async def receive(self) -> ControlMessage | None:
        """Return the next message, or None at the end."""
        try:
            prefix = await self._reader.readexactly(PREFIX_SIZE)
            return unpack_message(await self._reader.readexactly(message_length(prefix)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def __aiter__(self) -> AsyncIterator[ControlMessage]:
        """Iterate over the messages until the other end closes."""
        while (message := await self.receive()) is not None:
            yield message

    async def close(self) -> None:
        """Send what is left and close."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


async def connect(path: str, hello: Hello) -> ControlConnection:
    """Connect to a supervisor and say who is there."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2**20)
    connection = ControlConnection(reader, writer)
    connection.send(hello)
    return connection
