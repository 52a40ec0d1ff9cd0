"""Bodies that aren't text, damaged in any way: refused or read, never anything else."""

import gzip
import io

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from motet.arrays import from_raw
from motet.errors import BodyTooLarge, MalformedRequest
from motet.gateway.coding import compress, decompress
from motet.runtime.binary import read_npy, unpack, write_npy
from motet.schema import shown, with_rules

LIMIT = 1000


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


SEEDS = (
    npy(np.arange(4)),
    npy(np.zeros((2, 0), "f4")),
    npy(np.asfortranarray(np.ones((2, 3)))),
    msgspec.msgpack.encode({"array": {"dtype": "<f4", "shape": [2], "data": bytes(8)}, "n": [1, "a", None, 2.5, {"x": b"y"}]}),
    gzip.compress(b"hello" * 10),
    gzip.compress(bytes(LIMIT * 5)),
)


@st.composite
def damaged(draw):
    """A valid body with some bytes replaced, cut out or put in."""
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(body)))
        body[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(body)


@given(damaged() | st.binary(max_size=60))
def test_damaged_bodies(body):
    """Whatever comes is a value, or an error of the client's."""
    for read in (lambda: unpack(body, where="x"), lambda: read_npy(body, where="x"), lambda: decompress(body, LIMIT)):
        try:
            found = read()
        except (MalformedRequest, BodyTooLarge):
            continue
        if isinstance(found, np.ndarray):
            assert (found.dtype.kind in "biufc", found.flags.writeable, found.nbytes <= len(body)) == (True, False, True)
        elif isinstance(found, bytes):
            assert len(found) <= LIMIT


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**64)
    | st.text(max_size=5)
    | st.binary(max_size=9)
    | st.sampled_from(["<f4", "|O", "int8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data", "nd", "type", "kind"]), inner),
    max_leaves=8,
)
ARRAY = TypeAdapter(with_rules(np.ndarray))


@given(VALUES, VALUES, VALUES)
def test_any_array(dtype, shape, data):
    """Arrays of any other making are refused as values that don't fit."""
    for value in ({"dtype": dtype, "shape": shape, "data": data}, {"nd": True, "type": dtype, "shape": shape, "data": data}, data):
        try:
            found = ARRAY.validate_python(value)
        except ValidationError:
            continue
        assert found.dtype.kind in "biufc"


@given(st.sampled_from(["|b1", "|i1", "<u2", ">i4", "<f8", "<c16"]), st.lists(st.integers(0, 4), max_size=4))
def test_arrays_come_back(dtype, shape):
    """What numpy writes is read as it was."""
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    for found in (read_npy(npy(array), where="x"), from_raw(dtype, shape, array.tobytes())):
        assert (found.shape, found.dtype.newbyteorder("="), found.tolist()) == (array.shape, array.dtype.newbyteorder("="), array.tolist())


@given(st.binary(max_size=LIMIT))
def test_compressed_bodies_come_back(body):
    """Up to the limit, to the byte."""
    assert decompress(compress(body), LIMIT) == body


def test_large_values_are_shown_by_their_beginning():
    """An error about a large value doesn't write all of it, whatever its kind, and shows small ones as Python does."""
    for value in ([0] * 10**7, b"x" * 10**8, "x" * 10**8, {n: [n] * 10**4 for n in range(10**3)}):
        assert len(shown([value])) == len(shown(value)) == 120
    for value in ([1, "a", b"b"], {"b": 1, "a": (2, {3})}, {}, [], None, 1.5):
        assert shown(value) == repr(value)


def test_an_answer_keeps_the_array_as_it_was_returned():
    reused = np.zeros(4)
    body = write_npy(reused, where="Sums.add")
    reused[:] = 7
    assert np.array_equal(np.load(io.BytesIO(body.whole())), np.zeros(4))
