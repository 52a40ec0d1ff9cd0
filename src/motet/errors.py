"""Every exception of Motet, and the one table that maps them to HTTP statuses.

An error carries fields besides its message: `where` it happened, what was `found` and what to write or do `instead`.
The fields survive pickling and are part of the JSON that an HTTP client gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


class MotetError(Exception):
    """Base of all errors that Motet itself raises.

    Args:
        message: one sentence that says what is wrong.
        where: the place: `file:line`, service and endpoint, option or HTTP location.
        found: what was there.
        instead: what to write or do.
    """

    def __init__(self, message: str = "", *, where: str | None = None, found: str | None = None, instead: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.found = found
        self.instead = instead

    def __str__(self) -> str:
        """Return the message followed by the fields that are set."""
        lines = [self.message]
        for label, text in (("where", self.where), ("found", self.found), ("instead", self.instead)):
            if text is not None:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)

    def fields(self) -> dict[str, object]:
        """Return what an HTTP client sees of this error, ready for JSON."""
        named = {"where": self.where, "found": self.found, "instead": self.instead}
        return {"type": type(self).__name__, "message": self.message, **{k: v for k, v in named.items() if v is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong in a definition or graph."""

    place: str  # file:line
    subject: str  # Service, Service.endpoint, or node
    message: str
    found: str | None = None
    instead: str | None = None

    def __str__(self) -> str:
        """Return the fault as the user reads it: place, subject, message, then found and instead."""
        lines = [f"{self.place} ({self.subject}): {self.message}"]
        if self.found is not None:
            lines.append(f"    found:   {self.found}")
        if self.instead is not None:
            lines.append(f"    instead: {self.instead}")
        return "\n".join(lines)


class DefinitionError(MotetError):
    """A service, option or graph is defined wrongly; holds every fault that was found, not only the first."""

    def __init__(self, faults: Sequence[Fault] = (), *_: object) -> None:
        count = len(faults)
        super().__init__("\n".join([f"{count} fault{'s' if count != 1 else ''} in the definition:", *map(str, faults)]))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[DefinitionError], tuple[tuple[Fault, ...]]]:
        """Rebuild from the faults, since the message is made of them."""
        return type(self), (self.faults,)


class UsageError(MotetError):
    """Motet was called in a way that can't work (a programming mistake, not bad input)."""


class TargetError(MotetError):
    """A target such as `app.py:app` doesn't exist, can't be imported, or names something that is no app."""


class InvalidInput(MotetError):
    """Arguments or a request body don't fit the endpoint's annotations.

    `problems` lists each one: its location, what is wrong with it, and the value that was found. `of_service` says that
    a service, not a client, gave the arguments: a mistake in the program, and so no 4xx for the client.
    """

    of_service = False

    def __init__(
        self,
        message: str = "",
        *,
        problems: Sequence[Mapping[str, object]] = (),
        where: str | None = None,
        found: str | None = None,
        instead: str | None = None,
    ) -> None:
        super().__init__(message, where=where, found=found, instead=instead)
        self.problems = tuple(dict(problem) for problem in problems)

    def __str__(self) -> str:
        """Return the message with one line for each problem."""
        lines = [super().__str__()]
        lines += [f"  {problem.get('at')}: {problem.get('problem')} (found {problem.get('found')})" for problem in self.problems]
        return "\n".join(lines)

    def fields(self) -> dict[str, object]:
        """Return the fields with the list of problems."""
        return {**super().fields(), "problems": list(self.problems)} if self.problems else super().fields()


class InvalidOutput(MotetError):
    """An endpoint returned something that can't be sent, or not what its annotation promises."""


class HTTPError(MotetError):
    """Raise it in an endpoint to answer an HTTP request with a status of your choice.

    Args:
        status: HTTP status code, 400 to 599.
        message: what the client reads.
        headers: that the answer has besides those that every answer has.
    """

    def __init__(
        self,
        status: int = 500,
        message: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        where: str | None = None,
        found: str | None = None,
        instead: str | None = None,
    ) -> None:
        super().__init__(message, where=where, found=found, instead=instead)
        self.args = (status, message)
        self.status = status
        self.headers = dict(headers or {})

    def fields(self) -> dict[str, object]:
        """Return the fields with the status, which an error within a stream has no other way to tell."""
        return {**super().fields(), "status": self.status}


class MalformedRequest(MotetError):
    """An HTTP request, or its body, can't be parsed."""


class Unauthorized(MotetError):
    """The API key is missing or wrong."""


class NotFound(MotetError):
    """No endpoint or resource has this path or name."""


class MethodNotAllowed(MotetError):
    """The path exists, but not with this HTTP method."""


class NotAcceptable(MotetError):
    """The endpoint can't answer with any of the media types that the client accepts."""


class BodyTooLarge(MotetError):
    """A request body is over the limit."""


class HeadersTooLarge(MotetError):
    """The request line or the headers are over the limit."""


class RequestTimeout(MotetError):
    """The client took too long to send its request."""


class ExpectationFailed(MotetError):
    """The request expects something of the server that it doesn't know."""


class UnsupportedMediaType(MotetError):
    """The endpoint can't read a body of this content type or coding.

    `accept` lists the content types, `accept_encoding` the codings that it could read; both are headers of the answer.
    """

    def __init__(
        self,
        message: str = "",
        *,
        accept: str | None = None,
        accept_encoding: str | None = None,
        where: str | None = None,
        found: str | None = None,
        instead: str | None = None,
    ) -> None:
        super().__init__(message, where=where, found=found, instead=instead)
        self.accept = accept
        self.accept_encoding = accept_encoding

    def fields(self) -> dict[str, object]:
        """Return the fields with what could be read."""
        named = {"accept": self.accept, "accept_encoding": self.accept_encoding}
        return {**super().fields(), **{name: value for name, value in named.items() if value is not None}}


class Overloaded(MotetError):
    """The queue of every replica that could take the call is full.

    `retry_after` is the number of seconds after which trying again makes sense.
    """

    def __init__(
        self, message: str = "", *, retry_after: float = 1.0, where: str | None = None, found: str | None = None, instead: str | None = None
    ) -> None:
        super().__init__(message, where=where, found=found, instead=instead)
        self.retry_after = retry_after

    def fields(self) -> dict[str, object]:
        """Return the fields with the time after which to try again."""
        return {**super().fields(), "retry_after": self.retry_after}


class DeadlineExceeded(MotetError, TimeoutError):
    """The call's deadline passed before it was answered."""


class CallCancelled(MotetError):
    """The call was cancelled by its caller, or because the endpoint that made it had returned."""


class ReplicaDied(MotetError):
    """The replica that had the call died before it answered."""


class Unavailable(MotetError):
    """No replica of the service can take calls: it failed to start, was deleted, or gave up restarting."""


class ShuttingDown(Unavailable):
    """The app or server is stopping and takes no new calls."""


class RefExpired(MotetError):
    """A ref was used outside the request that it belongs to."""


class StartError(MotetError):
    """An app couldn't be started; the message has the cause."""


class FetchError(MotetError):
    """A URL couldn't be fetched: the host isn't there, fails, or is too slow."""


class FetchRefused(FetchError):
    """A URL is one that may not be fetched, or takes more than allowed; trying again changes nothing."""


class RemoteError(MotetError):
    """An exception of a class that can't be rebuilt here; `kind` names the class, the message is the original one."""

    def __init__(
        self, message: str = "", *, kind: str = "Exception", where: str | None = None, found: str | None = None, instead: str | None = None
    ) -> None:
        super().__init__(message, where=where, found=found, instead=instead)
        self.kind = kind

    def __str__(self) -> str:
        """Return the class name and the message of the original."""
        return f"{self.kind}: {super().__str__()}"

    def fields(self) -> dict[str, object]:
        """Return the fields with the original's class name as the type."""
        return {**super().fields(), "type": self.kind}


HTTP_STATUS: Mapping[type[BaseException], int] = MappingProxyType({
    MalformedRequest: 400,
    Unauthorized: 401,
    NotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    RequestTimeout: 408,
    RefExpired: 410,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    ExpectationFailed: 417,
    InvalidInput: 422,
    HeadersTooLarge: 431,
    CallCancelled: 499,
    ReplicaDied: 502,
    Overloaded: 503,
    Unavailable: 503,
    DeadlineExceeded: 504,
})  # fmt: skip


def http_status(error: BaseException) -> int:
    """Return the HTTP status for `error`: its own if it is an `HTTPError`, else by the table, else 500."""
    if isinstance(error, HTTPError):
        return error.status
    if isinstance(error, InvalidInput) and error.of_service:
        return 500
    return next((HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS), 500)


def public_fields(error: BaseException) -> dict[str, object]:
    """Return what an HTTP client is told of any exception: its type, message and fields, never its frames."""
    if isinstance(error, MotetError):
        return error.fields()
    return {"type": type(error).__name__, "message": str(error)}
