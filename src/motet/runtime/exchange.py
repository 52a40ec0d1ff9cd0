"""The two ends of a request: `Exchange` at the caller, `Request` and `Reply` at the replica."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from motet.runtime.inbox import TUNNEL_WINDOW, Inbox
from motet.wire.failure import Failure
from motet.wire.payload import Payload

WINDOW = 64  # items of a stream that may be on their way to a reader


class Format(enum.IntEnum):
    """How a request's body and its answers are encoded."""

    CODEC = 0  # [args, kwargs] and values, by the typed codec
    HTTP = 1  # a raw HTTP body by its content type, answered with raw bytes
    TUNNEL = 2  # the head of an HTTP request, with pieces after it in both directions


# For what every request passes: looking up a member of an enum takes as long as making a small object.
CODEC: Final = Format.CODEC
HTTP: Final = Format.HTTP
TUNNEL: Final = Format.TUNNEL


class Reply(Protocol):
    """How a replica answers a request; every method is called in the replica's loop."""

    def result(self, payload: Payload, content_type: str | None) -> None:
        """Answer a unary request."""

    def begin(self, content_type: str | None) -> None:
        """Announce a stream's items."""

    def item(self, payload: Payload, items: int = 1) -> None:
        """Send one item of a stream; over HTTP also several of them, one behind the other."""

    def end(self) -> None:
        """End a stream well."""

    def failure(self, failure: Failure) -> None:
        """End with an error."""

    def credit(self, size: int) -> None:
        """Let the caller send `size` more bytes of pieces."""


class Restartable(Protocol):
    """The replica's end of a tunnel, as its replica sees it."""

    def restart(self) -> None:
        """End what would last as long as its client wants."""


class Request(msgspec.Struct, eq=False, kw_only=True):
    """A request as a replica has it.

    Attributes:
        endpoint: its name.
        body: encoded arguments, or the body of an HTTP request.
        format: how body and answers are encoded.
        deadline: `time.monotonic()` seconds; inf means none.
        request_id: of the request that this belongs to.
        reply: takes the answers.
        trace: context of a distributed trace, as its header has it.
        content_type: of the body, over HTTP.
        accept: what the client takes, over HTTP.
        cancelled: whether nobody waits for answers any more.
        inbox: what the caller of a tunnel sends.
        tunnel: set while it runs over one.
        credit: items of a stream that may be sent; bytes of a tunnel.
        on_credit: set by a stream that waits for credit.
        abort: set while it runs: stops it.
    """

    endpoint: str
    body: Payload
    format: Format
    deadline: float
    request_id: str
    reply: Reply
    trace: str | None = None
    content_type: str | None = None
    accept: str | None = None
    cancelled: bool = False
    inbox: Inbox | None = None
    tunnel: Restartable | None = None
    credit: int = WINDOW
    on_credit: Callable[[], object] | None = None
    abort: Callable[[], object] | None = None

    def open_tunnel(self) -> None:
        """Get ready for pieces from the caller, and for credit in bytes."""
        self.inbox = Inbox(self.reply.credit)
        self.credit = TUNNEL_WINDOW

    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline != math.inf and time.monotonic() >= self.deadline

    def grant(self, items: int) -> None:
        """Let a stream send more items."""
        self.credit += items
        if self.on_credit is not None:
            self.on_credit()


class Link(Protocol):
    """A caller's connection to one replica."""

    @property
    def replica(self) -> str:
        """Identity of the replica."""
        ...

    @property
    def outstanding(self) -> int:
        """Exchanges that the replica hasn't answered."""
        ...

    def send(self, exchange: Exchange) -> None:
        """Start an exchange; its callbacks get the answers."""

    def cancel(self, exchange: Exchange) -> None:
        """Stop an exchange; none of its callbacks is called any more."""

    def credit(self, exchange: Exchange, items: int) -> None:
        """Let a stream send more items."""

    def item(self, exchange: Exchange, piece: bytes) -> None:
        """Send a piece through a tunnel."""

    def end(self, exchange: Exchange) -> None:
        """Say that no piece follows."""


class Finisher(Protocol):
    """The router of an exchange, as the exchange sees it."""

    def finished(self, exchange: Exchange) -> None:
        """Forget an exchange that has been answered."""

    def refused(self, exchange: Exchange, failure: Failure) -> bool:
        """Decide about an error of a replica; returns whether the exchange was sent to another one instead."""
        ...


class Exchange(msgspec.Struct, eq=False, kw_only=True):
    """A request as its caller has it. Links call `answer`, `end` and `fail`; subclasses say what becomes of that.

    Exactly one of `on_result`, `on_end` and `on_failure` is called, unless the exchange is cancelled before.

    Attributes:
        target: address of the node.
        endpoint: its name.
        body: encoded arguments, or the body of an HTTP request.
        format: how body and answers are encoded.
        deadline: `time.monotonic()` seconds; inf means none.
        request_id: of the request that this belongs to.
        trace: context of a distributed trace, as its header has it.
        idempotent: whether it may be repeated after it has begun.
        retries: how often.
        content_type: of the body, over HTTP.
        accept: what the client takes, over HTTP.
        link: where it was sent.
        router: watches over it.
        id: its number on the link.
    """

    target: str
    endpoint: str
    body: Payload
    format: Format
    deadline: float
    request_id: str
    trace: str | None = None
    idempotent: bool = False
    retries: int = 0
    content_type: str | None = None
    accept: str | None = None
    link: Link | None = None
    router: Finisher | None = None
    id: int = 0

    @property
    def name(self) -> str:
        """The endpoint's full name, for messages."""
        return f"{self.target}.{self.endpoint}"

    @property
    def begun_stream(self) -> bool:
        """Whether items have arrived, so that the exchange can't be repeated."""
        return False

    def answer(self, payload: Payload, content_type: str | None) -> None:
        """Settle a unary exchange; called by its link."""
        if self.router is not None:
            self.router.finished(self)
        self.on_result(payload, content_type)

    def end(self) -> None:
        """Settle a stream that ended well; called by its link."""
        if self.router is not None:
            self.router.finished(self)
        self.on_end()

    def fail(self, failure: Failure) -> None:
        """Settle with an error, or try another replica if the first refused to begin; called by its link."""
        if self.router is not None:
            if self.router.refused(self, failure):
                return
            self.router.finished(self)
        self.on_failure(failure)

    def on_result(self, payload: Payload, content_type: str | None) -> None:
        """Take the answer of a unary request."""
        raise NotImplementedError

    def on_begin(self, content_type: str | None) -> None:
        """Note that a stream has begun."""

    def on_item(self, payload: Payload, items: int) -> None:
        """Take one item of a stream; over HTTP also several of them, one behind the other."""
        raise NotImplementedError

    def assigned(self) -> None:
        """Note that a replica has a tunnel, from the start: what is to follow can be sent to it."""

    def on_credit(self, size: int) -> None:
        """Note that the replica has taken `size` bytes of pieces."""

    def on_end(self) -> None:
        """Note the good end of a stream."""
        raise NotImplementedError

    def on_failure(self, failure: Failure) -> None:
        """Take the error."""
        raise NotImplementedError
