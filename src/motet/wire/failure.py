"""Errors between processes: the exception as data, with the user's frames of every hop it came through."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, cast

import msgspec

from motet import redaction
from motet.errors import HTTPError, MotetError, RemoteError, http_status, public_fields
from motet.options import LIBRARY
from motet.wire import codec, names
from motet.wire.payload import Payload

MAX_FRAMES = 32
HOPS = "__motet_hops__"  # attribute of a rebuilt exception: what it came through
CAUSE = "__motet_cause__"  # and the text of what it was raised from


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One line of a traceback."""

    file: str
    line: int
    function: str
    source: str


class Hop(msgspec.Struct, frozen=True, array_like=True):
    """Where an exception passed: the endpoint, the replica, and the user's frames there."""

    endpoint: str
    replica: str
    frames: tuple[Frame, ...]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as data.

    Attributes:
        kind: class, as `module:qualified.name`.
        message: `str()` of the exception.
        state: the pickled exception, or its codec-encoded args and attributes, or nothing.
        pickled: whether `state` is pickle.
        hops: root cause first.
        fields: what an HTTP client is told.
        status: HTTP status.
        cause: text of the exceptions that it was raised from.
        begun: whether code of the endpoint may have run; only what never began may be sent to another replica.
        headers: of HTTP, that the answer to a client has besides those that every answer has.
    """

    kind: str
    message: str
    state: bytes
    pickled: bool
    hops: tuple[Hop, ...]
    fields: dict[str, Any]
    status: int
    cause: str = ""
    begun: bool = True
    headers: dict[str, str] = {}


def record(error: BaseException, *, endpoint: str, replica: str, begun: bool = True) -> Failure:
    """Describe an exception that leaves `endpoint`, adding this hop to those that it has come through; secrets don't show in it."""
    hop = Hop(endpoint, replica, user_frames(error))
    state, pickled = _state(error)
    fields, status = _public(error)
    kind: type = type(error)
    return Failure(
        kind=names.class_name(kind),
        message=redaction.redact(_text(error)),
        state=state,
        pickled=pickled,
        hops=(*getattr(error, HOPS, ()), hop),
        fields=redaction.redacted(fields),
        status=status,
        cause=redaction.redact(cause_text(error)),
        begun=begun,
        headers=redaction.redacted(_headers(error)) if isinstance(error, HTTPError) else {},
    )


def rebuild(failure: Failure) -> BaseException:
    """Return the exception that a failure describes: of the same class where it can be imported, else a `RemoteError`.

    The user's frames of every hop are in its notes, so that a plain traceback shows the whole way.
    """
    error = _restore(failure)
    if error is None:
        error = RemoteError(failure.message, kind=failure.kind.rpartition(":")[2])
        error.__dict__["status"] = failure.status
    setattr(error, HOPS, failure.hops)
    setattr(error, CAUSE, failure.cause)
    error.__notes__ = [*[n for n in getattr(error, "__notes__", ()) if not n.startswith(_TITLE)], chain_text(failure)]
    return error


def without_secrets(error: Exception, *, endpoint: str, replica: str) -> BaseException:
    """Return an exception, or, if a secret shows in its traceback, what another process would get of it."""
    trace = "".join(traceback.format_exception(error))
    return error if redaction.redact(trace) == trace else rebuild(record(error, endpoint=endpoint, replica=replica))


_TITLE = "It came through these services, the cause last:"


def chain_text(failure: Failure) -> str:
    """Return the hops as one readable block, root cause at the bottom."""
    lines = [_TITLE]
    for hop in reversed(failure.hops):
        lines.append(f"  {hop.endpoint} [{hop.replica}]")
        lines += ["  " + line for line in _frame_lines(hop.frames)]
    lines.append(f"  {failure.kind.rpartition(':')[2]}: {failure.message}")
    if failure.cause:
        lines += ["  raised from:", *("    " + line for line in failure.cause.splitlines())]
    return "\n".join(lines)


def cause_text(error: BaseException) -> str:
    """Return the exceptions that `error` was raised from, the nearest first, each with the user's frames and its notes."""
    lines: list[str] = []
    seen = {id(error)}
    while True:
        if carried := getattr(error, CAUSE, ""):
            lines += carried.splitlines()
        came_from = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if came_from is None or id(came_from) in seen:
            return "\n".join(lines)
        error = came_from
        seen.add(id(error))
        lines += [*_frame_lines(user_frames(error)), *description(error)]
        lines += ["  " + _sendable(line) for note in getattr(error, "__notes__", ()) for line in str(note).splitlines()]


def description(error: BaseException) -> list[str]:
    """Return class and message of an exception, after the place and the line if it is one of the parser."""
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)).splitlines()
    return [f"{type(error).__name__}: {_text(error)}"]


def _frame_lines(frames: tuple[Frame, ...]) -> list[str]:
    lines: list[str] = []
    for frame in frames:
        lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
        if frame.source:
            lines.append(f"    {frame.source}")
    return lines


def user_frames(error: BaseException) -> tuple[Frame, ...]:
    """Return the frames of the traceback that aren't Motet's own; all of them if there are no others."""
    extracted = traceback.extract_tb(error.__traceback__)
    kept = [
        f for f in extracted if not f.filename.startswith(LIBRARY) and "/asyncio/" not in f.filename and "/concurrent/" not in f.filename
    ]
    return tuple(Frame(_sendable(f.filename), f.lineno or 0, f.name, redaction.redact(_sendable(f.line or ""))) for f in kept[-MAX_FRAMES:])


def _text(error: BaseException) -> str:
    try:
        return _sendable(error.message if isinstance(error, MotetError) else str(error))
    except Exception:  # noqa: BLE001  # a user's __str__ may raise
        return "<its message can't be shown>"


def _sendable(text: str) -> str:
    """Return the text without what UTF-8 can't hold: a file name of other bytes, say, is in Python a text with lone surrogates."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _public(error: BaseException) -> tuple[dict[str, Any], int]:
    try:
        fields = msgspec.msgpack.decode(msgspec.msgpack.encode(public_fields(error), enc_hook=str))  # as every process can have them
        return cast("dict[str, Any]", fields), http_status(error)
    except Exception:  # noqa: BLE001  # a user's __str__ may raise, or its __init__ not have called ours
        return {"type": type(error).__name__, "message": _text(error)}, 500


def _headers(error: HTTPError) -> dict[str, str]:
    try:
        return {_sendable(str(name)): _sendable(str(value)) for name, value in error.headers.items()}
    except Exception:  # noqa: BLE001  # a user's class may not have called our __init__, or have other headers
        return {}


def _state(error: BaseException) -> tuple[bytes, bool]:
    """Return the encoded state of an exception: pickle where it survives the way back, else args and attributes."""
    try:
        if type(error).__reduce__ is BaseException.__reduce__:
            # Rebuilding by `cls(*args)` fails for a class whose __init__ takes other arguments than it hands on.
            content = [list(error.args), {k: v for k, v in error.__dict__.items() if not k.startswith("__")}]
            state = codec.encode(content)
            if redaction.hides(state.head):
                state = codec.encode(redaction.redacted(content))
            if not state.buffers and not redaction.hides(state.head):
                return bytes(state.head), False
        data = pickle.dumps(error)
        if redaction.hides(data):
            return b"", False  # a secret within something that nobody can look into
        pickle.loads(data)  # noqa: S301  # our own bytes, of a moment ago
    except Exception:  # noqa: BLE001  # attributes that can't travel: the message and the frames do
        return b"", False
    return data, True


def _restore(failure: Failure) -> BaseException | None:
    try:
        kind = names.load_class(failure.kind)
        if not issubclass(kind, Exception) or not failure.state:
            return None  # a SystemExit would end the caller, too
        if failure.pickled:
            loaded = pickle.loads(failure.state)  # noqa: S301  # between own processes only
            return loaded if isinstance(loaded, BaseException) else None
        args, attributes = codec.decode(Payload(failure.state))
        error = kind.__new__(kind, *args)
        builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        builtin.__init__(error, *args)  # sets what such classes keep outside of __dict__
        error.__dict__.update(attributes)
    except Exception:  # noqa: BLE001  # whatever it is, the caller gets a RemoteError
        return None
    return error


encode_failure = msgspec.msgpack.Encoder().encode
decode_failure = msgspec.msgpack.Decoder(Failure).decode
