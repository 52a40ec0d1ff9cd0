"""The typed codec: values between services as msgpack, with arrays, tensors and long byte strings out of band.

Plain data (None, bool, int, float, str, bytes, list, dict with string keys) is msgpack as it stands. Everything else is a
msgpack extension: pydantic models, dataclasses, msgspec structs and enums by class name and fields, so that a value arrives
with exactly the type and state it was sent with and nothing is validated twice. What the codec doesn't know is pickled, by
cloudpickle where the class can't be imported; only processes of one server, over owner-only sockets, ever decode that.
"""

from __future__ import annotations

import datetime as dt
import enum
import pickle
import sys
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any, cast

import msgspec
from msgspec import msgpack
from pydantic import BaseModel

from motet import byvalue
from motet.errors import InvalidOutput
from motet.wire.buffers import of_array, of_bytes
from motet.wire.kinds import STDLIB_READERS, STDLIB_TYPES, dtype_text, field_names, read_dtype, without_undefined
from motet.wire.memory import Pool, pool
from motet.wire.names import class_name, is_importable, load_class
from motet.wire.payload import Buffer, Part, Payload
from motet.wire.segments import SharedBuffer

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
OUT_OF_BAND = 4096  # bytes from which a buffer leaves the head

# Extension codes. They are part of the wire format: never renumber.
_TUPLE, _SET, _FROZENSET, _DICT, _BIG_INT, _OBJECT, _ENUM, _STDLIB, _ARRAY, _TENSOR, _IMAGE, _BYTES, _PICKLE, _EMBEDDED, _SCALAR = range(
    1, 16
)

_SCALARS = frozenset((type(None), bool, float, str))
_PLAIN = _SCALARS | {int}  # which may be too long
_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)
_pack = msgpack.Encoder().encode
_dumps = partial(pickle.dumps, protocol=5)
_unpack = msgpack.Decoder().decode


Embed = Callable[[object], Payload | None]
"""Returns what stands for a value: an encoded one that is forwarded as it is, or None if the value is to be encoded."""


class _Writer:
    """Turns one value into msgpack-ready data, collecting buffers on the way."""

    __slots__ = ("buffers", "embed", "pool")

    def __init__(self, embed: Embed | None, pool: Pool | None) -> None:
        self.buffers: list[Part] = []
        self.embed = embed
        self.pool = pool

    def ext(self, code: int, data: Any) -> msgpack.Ext:
        return msgpack.Ext(code, _pack(data))

    def convert(self, value: Any) -> Any:
        kind: type = type(value)  # pyright: ignore[reportUnknownVariableType]  # any type at all
        if kind in _SCALARS:
            return value
        if kind is int:
            return value if _MIN_INT <= value <= _MAX_INT else msgpack.Ext(_BIG_INT, str(value).encode())
        if kind is list:
            return value if _SCALARS.issuperset(map(type, value)) else [self.convert(item) for item in value]
        if kind is dict:
            return self._dict(value)
        if (write := _WRITERS.get(kind)) is not None:
            return write(self, value)
        return self._other(value, kind)

    def _dict(self, value: dict[Any, Any]) -> Any:
        if {str}.issuperset(map(type, value)):
            return value if _SCALARS.issuperset(map(type, value.values())) else {k: self.convert(v) for k, v in value.items()}
        return self.ext(_DICT, [[self.convert(k), self.convert(v)] for k, v in value.items()])

    def _other(self, value: Any, kind: type) -> Any:
        if self.embed is not None and (embedded := self.embed(value)) is not None:
            first = len(self.buffers)
            self.buffers += embedded.buffers
            return self.ext(_EMBEDDED, [bytes(embedded.head), first, len(embedded.buffers)])
        if isinstance(value, BaseModel):
            return self._model(value, kind)
        if isinstance(value, enum.Enum):
            if is_importable(kind) and value.name in type(value).__members__:  # combined flags have no member
                return self.ext(_ENUM, [class_name(kind), value.name])
        elif is_importable(kind) and (names := field_names(kind)) is not None:
            return self.ext(_OBJECT, [class_name(kind), {n: self.convert(getattr(value, n)) for n in names if hasattr(value, n)}])
        if (write := _library_writer(kind)) is not None and (written := write(self, value)) is not None:
            return written
        return self.pickled(value)

    def _model(self, value: BaseModel, kind: type) -> Any:
        if not is_importable(kind) or type(value).__getstate__ is not BaseModel.__getstate__:
            return self.pickled(value)
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        state = [class_name(kind), {k: self.convert(v) for k, v in value.__dict__.items()}, list(value.__pydantic_fields_set__)]
        if extra is not None or private is not None:
            state += [self.convert(extra), self.convert(without_undefined(private))]
        return self.ext(_OBJECT, state)

    def pickled(self, value: Any) -> Any:
        buffers: list[pickle.PickleBuffer] = []
        kind: type = type(value)  # pyright: ignore[reportUnknownVariableType]  # any type at all
        compiled: list[str] = [] if is_importable(kind) else [_PYTHON]  # who can read the code in it
        dump = byvalue.dumps if compiled else _dumps
        try:
            data = dump(value, buffer_callback=buffers.append)
        except Exception as first:  # noqa: BLE001  # by value more is possible
            try:
                buffers.clear()
                compiled = [_PYTHON]
                data = byvalue.dumps(value, buffer_callback=buffers.append)
            except Exception:  # noqa: BLE001  # whatever a user's reducer raises
                message = f"a value of type {kind.__module__}.{kind.__qualname__} can't be sent to another process"
                raise InvalidOutput(
                    message,
                    found=f"{type(first).__name__}: {first}",
                    instead="plain data, a pydantic model, a dataclass, an array, a tensor, an image, or something picklable",
                ) from first
        return msgpack.Ext(_PICKLE, _pack([data, [self.buffer(b.raw()) for b in buffers], *compiled]))

    def buffer(self, data: Buffer) -> int:
        return self.keep(of_bytes(data, self.pool))

    def keep(self, part: Part) -> int:
        self.buffers.append(part)
        return len(self.buffers) - 1

    def bytes(self, value: Buffer) -> Any:
        return msgpack.Ext(_BYTES, _pack(self.buffer(value))) if len(value) >= OUT_OF_BAND else bytes(value)

    def array(self, value: Any) -> Any:
        if value.dtype.hasobject or type(value).__module__ != "numpy":
            return None
        return self.ext(_ARRAY, [dtype_text(value.dtype), list(value.shape), *self._contents(value)])

    def _contents(self, value: Any) -> tuple[Any]:
        part = of_array(value, self.pool)
        return (bytes(cast("Buffer", part)) if len(part) < OUT_OF_BAND else self.keep(part),)

    def tensor(self, value: Any) -> Any:
        import torch

        if value.layout is not torch.strided or value.is_quantized:
            return None
        plain = value.detach().cpu().contiguous()
        return self.ext(
            _TENSOR,
            [
                str(value.dtype).removeprefix("torch."),
                list(value.shape),
                bool(value.requires_grad),
                *self._contents(plain.reshape(-1).view(torch.uint8).numpy()),
            ],
        )

    def image(self, value: Any) -> Any:
        if value.mode == "P":
            return None  # its palette is a second part; pickle keeps both
        return self.ext(_IMAGE, [value.mode, list(value.size), self.bytes(value.tobytes())])


def _items(code: int) -> Callable[[_Writer, Iterable[Any]], Any]:
    return lambda writer, value: writer.ext(code, [writer.convert(item) for item in value])


_WRITERS: dict[type, Callable[[_Writer, Any], Any]] = {
    bytes: lambda w, v: w.bytes(v),
    bytearray: lambda w, v: w.ext(_SCALAR, ["bytearray", w.bytes(bytes(v))]),
    memoryview: lambda w, v: w.bytes(bytes(v)),
    tuple: _items(_TUPLE),
    set: _items(_SET),
    frozenset: _items(_FROZENSET),
}


def _text(name: str, write: Callable[[Any], str]) -> Callable[[_Writer, Any], Any]:
    return lambda writer, value: writer.ext(_STDLIB, [name, write(value)])


_WRITERS.update({cls: _text(cls.__name__, write) for cls, (write, _) in STDLIB_TYPES.items()})


def _instant(writer: _Writer, value: dt.datetime | dt.time) -> Any:
    # ISO text has no room for a zone's rules, nor for which of two equal times at the end of summer is meant.
    exact = value.fold == 0 and (value.tzinfo is None or type(value.tzinfo) is dt.timezone)
    return writer.ext(_STDLIB, [type(value).__name__, value.isoformat()]) if exact else writer.pickled(value)


_WRITERS[dt.datetime] = _WRITERS[dt.time] = _instant


def _library_writer(kind: type) -> Callable[[_Writer, Any], Any] | None:
    """Return the writer of an array library's type; looks only at libraries that are loaded."""
    numpy, torch, pil = sys.modules.get("numpy"), sys.modules.get("torch"), sys.modules.get("PIL.Image")
    writer: Callable[[_Writer, Any], Any] | None = None
    if numpy is not None and issubclass(kind, numpy.ndarray):
        writer = _Writer.array
    elif numpy is not None and issubclass(kind, numpy.generic):
        writer = lambda w, v: w.ext(_SCALAR, ["numpy", dtype_text(v.dtype), v.tobytes()]) if not v.dtype.hasobject else None  # noqa: E731  # short, and one of five cases
    elif torch is not None and issubclass(kind, getattr(torch, "Tensor", ())):
        writer = _Writer.tensor
    elif pil is not None and issubclass(kind, pil.Image):
        writer = _Writer.image
    if writer is not None and kind.__module__.split(".")[0] in ("numpy", "torch", "PIL"):
        _WRITERS[kind] = lambda w, v: written if (written := writer(w, v)) is not None else w.pickled(v)
    return writer


class _Reader:
    """Turns msgpack extensions back into values; tensors are views of shared memory if `share` says so."""

    __slots__ = ("buffers", "share", "unpack")

    def __init__(self, buffers: Sequence[Part], *, share: bool = False) -> None:
        self.buffers = buffers
        self.share = share
        self.unpack = msgpack.Decoder(ext_hook=self.read).decode

    def close(self) -> None:
        """Break the cycle of reader and decoder: blocks of shared memory would be held until somebody collects garbage."""
        del self.unpack

    def read(self, code: int, data: memoryview) -> Any:
        if code == _BIG_INT:
            return int(bytes(data))
        return _READERS[code](self, self.unpack(data))

    def object(self, state: list[Any]) -> Any:
        kind: Any = load_class(state[0])
        if issubclass(kind, msgspec.Struct):
            return kind(**state[1])
        value: Any = kind.__new__(kind)
        if issubclass(kind, BaseModel):
            object.__setattr__(value, "__dict__", state[1])
            object.__setattr__(value, "__pydantic_fields_set__", set(state[2]))
            object.__setattr__(value, "__pydantic_extra__", state[3] if len(state) > 3 else None)  # noqa: PLR2004  # the second half of the state is optional
            object.__setattr__(value, "__pydantic_private__", state[4] if len(state) > 3 else None)  # noqa: PLR2004  # the second half of the state is optional
            return value
        for name, item in state[1].items():
            object.__setattr__(value, name, item)
        return value

    def long_bytes(self, index: int) -> bytes:
        return bytes(self.raw(index))

    def raw(self, where: Any) -> Buffer:
        part = self.buffers[where] if isinstance(where, int) else cast("Buffer", where)
        return part.view() if isinstance(part, SharedBuffer) else part

    def array(self, state: list[Any]) -> Any:
        import numpy as np

        dtype = read_dtype(state[0])
        view: Any = np.frombuffer(memoryview(self.raw(state[2])).toreadonly(), dtype=dtype) if 0 not in state[1] else np.empty(0, dtype)
        shaped = view.reshape(state[1])
        shaped.flags.writeable = False
        return shaped

    def tensor(self, state: list[Any]) -> Any:
        import torch

        part = self.buffers[state[3]] if isinstance(state[3], int) else state[3]
        if 0 in state[1]:
            flat = torch.empty(0, dtype=torch.uint8)
        elif self.share and isinstance(part, SharedBuffer):
            flat = torch.frombuffer(part.memory(), dtype=torch.uint8)
        else:  # a private copy: torch writes through read-only mappings and would crash the process
            flat = torch.frombuffer(bytearray(self.raw(part)), dtype=torch.uint8)
        return flat.view(getattr(torch, state[0])).reshape(state[1]).requires_grad_(state[2])

    def image(self, state: list[Any]) -> Any:
        from PIL import Image

        return Image.frombytes(state[0], tuple(state[1]), bytes(state[2]))

    def scalar(self, state: list[Any]) -> Any:
        if state[0] == "bytearray":
            return bytearray(state[1])
        import numpy as np

        return np.frombuffer(state[2], dtype=read_dtype(state[1]))[0]

    def pickle(self, state: list[Any]) -> Any:
        if len(state) > 2 and state[2] != _PYTHON:  # noqa: PLR2004  # the optional part
            raise InvalidOutput(
                f"a value has code of Python {state[2]} in it, which Python {_PYTHON} can't read",
                found="a class or function that can't be imported: of a notebook, of another function's body, or a lambda",
                instead="plain data or a model, a class in a module of its own, or services of one version of Python",
            )
        return pickle.loads(state[0], buffers=[self.raw(i) for i in state[1]])  # noqa: S301  # between own processes only

    def embedded(self, state: list[Any]) -> Any:
        head, first, count = state
        return decode(Payload(head, tuple(self.buffers[first : first + count])), share=self.share)


_READERS: dict[int, Callable[[_Reader, Any], Any]] = {
    _TUPLE: lambda _, items: tuple(items),
    _SET: lambda _, items: set(items),
    _FROZENSET: lambda _, items: frozenset(items),
    _DICT: lambda _, pairs: {k: v for k, v in pairs},  # noqa: C416  # pairs are lists
    _OBJECT: _Reader.object,
    _ENUM: lambda _, state: cast("type[enum.Enum]", load_class(state[0]))[state[1]],
    _STDLIB: lambda _, state: STDLIB_READERS[state[0]](state[1]),
    _ARRAY: _Reader.array,
    _TENSOR: _Reader.tensor,
    _IMAGE: _Reader.image,
    _BYTES: _Reader.long_bytes,
    _PICKLE: _Reader.pickle,
    _EMBEDDED: _Reader.embedded,
    _SCALAR: _Reader.scalar,
}


def encode(value: object, *, embed: Embed | None = None, in_line: bool = False) -> Payload:
    """Encode a value as it is now: later changes of the value don't change the payload.

    Args:
        value: what to encode.
        embed: says what stands for a value, if it isn't to be encoded itself.
        in_line: whether to stay away from shared memory, because the payload goes where no link does.

    Raises:
        InvalidOutput: the value can't be sent.
    """
    try:
        if type(value) in _PLAIN and (type(value) is not int or _MIN_INT <= value <= _MAX_INT):
            return Payload(_pack(value))
        writer = _Writer(embed, None if in_line else pool())
        return Payload(_pack(writer.convert(value)), tuple(writer.buffers))
    except UnicodeEncodeError as error:
        raise InvalidOutput(
            "a text with lone surrogates is no Unicode and can't be sent",
            found=ascii(error.object[:64]),
            instead="bytes: `os.fsencode(text)`",
        ) from None
    except RecursionError:
        raise InvalidOutput("a value that is nested too deeply, or contains itself, can't be sent", instead="a flat form of it") from None


def encode_plain(value: object, scalars: Iterable[object]) -> Payload | None:
    """Encode a scalar, or nested tuples and dicts of the given scalars, in a fifth of the time that looking into them takes.

    Returns:
        None if that doesn't do: one of them is something else, or can't be written as it is.
    """
    if not _PLAIN.issuperset(map(type, scalars)):
        return None
    try:
        return Payload(_pack(value))
    except (OverflowError, UnicodeEncodeError):
        return None


def decode(payload: Payload, *, share: bool = False) -> Any:
    """Decode a value. Arrays are read-only views of the payload's buffers; tensors are private copies.

    Args:
        payload: what to decode.
        share: whether tensors are views of shared memory, too, which nobody may write to.
    """
    if not payload.buffers:
        return _BARE_READER.unpack(payload.head)
    reader = _Reader(payload.buffers, share=share)
    try:
        return reader.unpack(payload.head)
    finally:
        reader.close()


def decode_arguments(payload: Payload, shared: Container[int | str]) -> tuple[list[Any], dict[str, Any]]:
    """Decode arguments of which some, by position or name, share their tensors."""
    args, kwargs = _arguments(payload.head)
    readers = {share: _Reader(payload.buffers, share=share) for share in (False, True)}
    try:
        return (
            [readers[position in shared].unpack(item) for position, item in enumerate(args)],
            {name: readers[name in shared].unpack(item) for name, item in kwargs.items()},
        )
    finally:
        for reader in readers.values():
            reader.close()


decode_shared = partial(decode, share=True)
_arguments = msgpack.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]).decode
_BARE_READER = _Reader(())
