"""Bodies in msgpack and in NumPy's file format, both ways. Neither can name code, so both may come from a network."""

from __future__ import annotations

import io
from typing import Any, NoReturn

import msgspec
from pydantic_core import PydanticSerializationError, SchemaSerializer, to_jsonable_python

from motet.arrays import as_array, encoded_image, from_raw, to_raw
from motet.errors import InvalidOutput, MalformedRequest
from motet.wire.payload import Buffer, Payload

MAX_NPY_HEADER = 4096  # bytes; that of a plain array has about a hundred


def _no_extensions(code: int, _: memoryview) -> NoReturn:
    raise MalformedRequest("the body has a msgpack extension that means nothing here", found=f"type {code}", instead="arrays as maps")


_unpack = msgspec.msgpack.Decoder(ext_hook=_no_extensions).decode


def unpack(body: Buffer, *, where: str) -> Any:
    """Return the value of a msgpack body.

    Raises:
        MalformedRequest: it is no msgpack, or nested too deeply.
    """
    try:
        return _unpack(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        found = "an empty body" if not len(body) else None
        raise MalformedRequest(f"the body is no msgpack: {error}", where=where, found=found) from None
    except RecursionError:
        raise MalformedRequest("the body is nested too deeply", where=where) from None


def _packable(value: Any) -> Any:
    """Return what msgpack can say of a value: buffers of arrays, PNG of images, for all else what JSON would have."""
    if (raw := to_raw(value)) is not None:
        return raw
    if (image := encoded_image(value)) is not None:
        return image
    return to_jsonable_python(value)


_pack = msgspec.msgpack.Encoder(enc_hook=_packable).encode


def pack(serializer: SchemaSerializer, value: object, *, where: str) -> bytes:
    """Write a checked value as msgpack by the serializer of its annotation.

    Raises:
        InvalidOutput: it can't be written.
    """
    try:
        return _pack(serializer.to_python(value))
    except (PydanticSerializationError, TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidOutput("the result can't be written as msgpack", where=where, found=str(error)) from None


def read_npy(body: Buffer, *, where: str) -> Any:
    """Return the array of a body in NumPy's file format, read-only.

    Raises:
        MalformedRequest: it is none, or its elements are no numbers.
    """
    from numpy.lib import format as npy  # noqa: PLC0415  # it is there: an endpoint that takes arrays has imported it

    file = io.BytesIO(body[: MAX_NPY_HEADER + 16])
    try:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file, max_header_size=MAX_NPY_HEADER)
        data = memoryview(body)[file.tell() :]
        array = from_raw(dtype.str, list(shape[::-1] if fortran else shape), data)
    except Exception as error:  # noqa: BLE001  # numpy evaluates the header as a literal, which fails in many ways
        said = str(error).partition("\n")[0]
        raise MalformedRequest(f"the body is no .npy file of numbers: {said}", where=where) from None
    return array.T if fortran else array


def write_npy(value: object, *, where: str) -> Payload:
    """Return an array or tensor in NumPy's file format.

    Raises:
        InvalidOutput: its elements are no numbers.
    """
    from numpy.lib import format as npy  # noqa: PLC0415  # as above

    array = as_array(value)
    raw = to_raw(array)
    if array is None or raw is None:
        raise InvalidOutput("the result can't be written as .npy", where=where, found=type(value).__name__)
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": raw["dtype"], "fortran_order": False, "shape": tuple(raw["shape"])})
    # A copy, since the answer leaves later, and the service may fill the same array again meanwhile.
    return Payload(file.getvalue(), (bytes(raw["data"]),))
