"""Values come out of the codec as they went in."""

import datetime as dt
import decimal
import math
import uuid

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import BaseModel

from motet.errors import InvalidOutput
from motet.wire import codec
from motet.wire.payload import Payload

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=64)
    | st.datetimes()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals()
    | st.fractions()
    | st.complex_numbers()
)
keys = st.text() | st.integers() | st.tuples(st.integers(), st.text()) | st.binary(max_size=8) | st.booleans() | st.none()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=5)
        | st.frozensets(keys, max_size=5)
        | st.sets(keys, max_size=5)
    ),
    max_leaves=20,
)


def there_and_back(value):
    payload = codec.encode(value)
    wire = Payload(bytes(payload.head), tuple(memoryview(bytes(buffer)) for buffer in payload.buffers))
    return codec.decode(wire)


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, complex | float | decimal.Decimal):
        return repr(a) == repr(b)  # NaN is unequal to itself, -0.0 equal to 0.0
    return a == b


@given(values)
@settings(max_examples=400, deadline=None)
def test_any_plain_value(value):
    """Any nesting of plain values comes back equal and of the same types."""
    assert same(value, there_and_back(value))


dtypes = st.sampled_from(["?", "i1", "u2", "<i4", ">i4", "i8", "u8", "f2", "f4", "f8", "c8", "S3", "U2", "M8[ns]", "m8[s]"])


@given(dtypes, st.lists(st.integers(0, 40), max_size=4), st.sampled_from("CF"), st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_any_array(dtype, shape, order, seed):
    """Any array of any shape, order and dtype comes back with its contents, read-only."""
    if math.prod(shape) > 50_000:
        shape = shape[:2]
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(seed).integers(0, 2 if dtype == "?" else 100, size, dtype=np.uint8).tobytes()
    array = np.frombuffer(raw, dtype=dtype).reshape(shape) if "U" not in dtype else np.zeros(shape, dtype=dtype)
    array = np.array(array, order=order)
    found = there_and_back(array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable


@given(st.binary(min_size=4000, max_size=5000), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_bytes_around_the_out_of_band_limit(data, copies):
    """Bytes are the same in the head and out of band."""
    assert there_and_back([data] * copies) == [data] * copies


class Holder(BaseModel):
    value: object


@given(values)
@settings(max_examples=100, deadline=None)
def test_any_value_in_a_model(value):
    """A model's fields may hold anything."""
    found = there_and_back(Holder(value=value))
    assert type(found) is Holder
    assert same(found.value, value)


def test_nothing_is_validated_twice():
    """Decoding a model runs no validator: its state is what it was."""
    built = Holder.model_construct(value=1, unknown=2)
    found = there_and_back(built)
    assert found.__dict__ == built.__dict__
    assert found.model_fields_set == built.model_fields_set


def test_embedded_values_keep_their_buffers():
    """A value that is already encoded goes into another as it is, buffers included."""
    first, second = np.arange(5000.0), np.arange(3000)
    marks = {1: codec.encode(first), 2: codec.encode({"deep": [second, b"x" * 9000]})}

    class Mark:
        def __init__(self, number):
            self.number = number

    payload = codec.encode(
        [np.ones(4000), Mark(2), Mark(1), Mark(2)], embed=lambda value: marks[value.number] if isinstance(value, Mark) else None
    )
    found = codec.decode(payload)
    assert found[2].tolist() == first.tolist()
    assert found[1]["deep"][0].tolist() == found[3]["deep"][0].tolist() == second.tolist()
    assert found[1]["deep"][1] == b"x" * 9000


def test_encoding_is_a_snapshot():
    """What happens to a value after it was encoded doesn't show."""
    items, array = [1, [2]], np.zeros(4096)
    payload = codec.encode([items, array])
    items[1].append(3)
    array[:] = 1
    found = codec.decode(payload)
    assert found[0] == [1, [2]]
    assert found[1].sum() == 0


@pytest.mark.parametrize("value", [open, ..., int, math.sqrt])
def test_what_only_pickle_knows_passes(value):
    """Objects that are known by name come back as themselves."""
    assert there_and_back(value) is value


def test_what_nothing_knows_is_refused():
    """A value that can't be pickled either is refused with what to use instead."""
    with pytest.raises(InvalidOutput, match="generator") as caught:
        codec.encode([1, (i for i in ())])
    assert caught.value.instead


def test_subclasses():
    """A subclass of a known type isn't mistaken for it."""

    class Tagged(uuid.UUID):
        pass

    found = there_and_back(Tagged(int=1))
    assert type(found).__name__ == "Tagged"
    assert found == uuid.UUID(int=1)


def test_code_of_another_python_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_PYTHON", "3.99")
    made = codec.encode([lambda: 1])
    monkeypatch.undo()
    with pytest.raises(InvalidOutput, match=r"code of Python 3\.99 in it") as caught:
        codec.decode(made)
    assert "a class in a module of its own" in str(caught.value.instead)


def test_what_is_pickled_by_name_is_for_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_PYTHON", "3.99")
    made = codec.encode([slice(1, 2)])
    monkeypatch.undo()
    assert codec.decode(made) == [slice(1, 2)]
