"""Bodies in msgpack and .npy, and which form an answer has: over HTTP, on every engine."""

import io
import struct

import msgspec
import numpy as np
import pytest
from bodies import Bodies
from PIL import Image

pytestmark = pytest.mark.anyio

MSGPACK = "application/msgpack"
NPY = "application/x-npy"
pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


@pytest.fixture(scope="module")
async def http(over_http):
    return await over_http(Bodies.bind())


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def from_npy(content):
    return np.load(io.BytesIO(content), allow_pickle=False)


def raw(array):
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


async def ask(http, path, value, *, accept=MSGPACK, content_type=MSGPACK):
    """Send msgpack, get msgpack."""
    answer = await http.post(path, content=pack(value), headers={"content-type": content_type, "accept": accept})
    if answer.status_code == 200:
        assert answer.headers["content-type"] == accept
        return unpack(answer.content)
    return answer.status_code, answer.json()["error"]


# -- msgpack -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MSGPACK, "application/x-msgpack", "application/vnd.msgpack"])
async def test_msgpack_by_every_name(http, name):
    """The answer has the name that was asked for."""
    assert await ask(http, "/add", {"a": 41}, accept=name, content_type=name) == 42


async def test_msgpack_values(http):
    """Models, dataclasses, defaults, nothing; bytes are binary, lists become tuples, times are text or timestamps."""
    photo = {"name": "a", "data": b"\xff\x00", "size": [2, 3], "taken": "2026-01-02T03:04:05"}
    assert await ask(http, "/photo", photo) == photo
    assert (await ask(http, "/photo", photo | {"taken": "2026-01-02T03:04:05Z"}))["taken"].isoformat() == "2026-01-02T03:04:05+00:00"
    assert await ask(http, "/pair", {"left": 1, "right": ["x"]}) == {"left": 1, "right": ["x"]}
    assert await ask(http, "/nothing", {}) is None
    assert await ask(http, "/upper", {"text": "ä"}) == "Ä"
    assert await ask(http, "/blob", {"data": b"abc"}) == b"cba"
    assert await ask(http, "/by_number", {"words": {1: "x"}}) == {1: "x"}


async def test_msgpack_and_json_mix(http):
    """What comes in and what goes out are chosen apart."""
    answer = await http.post("/add", content=pack({"a": 1}), headers={"content-type": MSGPACK})
    assert (answer.headers["content-type"], answer.json()) == ("application/json", 2)
    answer = await http.post("/add", json={"a": 1}, headers={"accept": MSGPACK})
    assert (answer.headers["content-type"], unpack(answer.content)) == (MSGPACK, 2)


async def test_msgpack_no_body(http):
    """An endpoint without parameters needs none."""
    answer = await http.post("/nothing", headers={"content-type": MSGPACK})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        ("/add", {"a": "x"}, "a"),
        ("/add", {"a": 1, "c": 2}, "c"),
        ("/add", {}, "a"),
        ("/add", [1], "body"),
        ("/add", None, "body"),
        ("/photo", {"name": 1, "data": b""}, "name"),
        ("/pair", {"left": 1, "right": "x"}, "right"),
        ("/by_number", {"words": {"x": "y"}}, "words.x.[key]"),
    ],
)
async def test_msgpack_that_does_not_fit(http, path, value, at):
    """The same errors as for JSON, with the place."""
    status, error = await ask(http, path, value)
    assert (status, error["problems"][0]["at"]) == (422, at)


MALFORMED = {
    "nothing": b"",
    "cut": pack({"a": 1})[:-1],
    "something behind": pack({"a": 1}) + b"\x01",
    "not msgpack": b"\xc1",
    "text that is no UTF-8": b"\x81\xa1a\xa1\xff",
    "extension": b"\x81\xa1a\xd4\x05\x01",
    "pickled array of msgpack-numpy": pack(
        {"array": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"cos\nsystem\n"}}
    ),
    "lists of four billion": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "lists in lists": b"\xdd\x03\xff\xff\xff" * 20,
    "map of four billion": b"\xdf\xff\xff\xff\xff",
    "bytes of four billion": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "deep lists": b"\x91" * 100_000,
    "deep maps": b"\x81\xa1a" * 100_000,
    "map as key": b"\x81\x80\x01",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_msgpack(http, body):
    """Each is refused at once, whatever it announces, and the replica lives."""
    path = "/any_array" if b"nd" in body else "/add"
    answer = await http.post(path, content=body, headers={"content-type": MSGPACK})
    assert answer.status_code in (400, 422)
    assert await ask(http, "/add", {"a": 1}) == 2


# -- arrays ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [np.arange(6, dtype="<f4").reshape(2, 3), np.zeros((0, 3), "<f4"), np.array(2, "<f4")], ids=str)
async def test_arrays_in_msgpack(http, array):
    """A map of dtype, shape and data, both ways."""
    assert await ask(http, "/double", {"array": raw(array)}) == raw(array * 2)


@pytest.mark.parametrize("dtype", ["|b1", "|i1", "<u2", "<i8", "<f2", "<f8", "<c8"])
async def test_dtypes(http, dtype):
    """All numbers."""
    array = np.arange(4).astype(dtype)
    assert await ask(http, "/any_array", {"array": raw(array)}) == raw(array)


async def test_other_notations(http):
    """Big-endian data, names of dtypes, msgpack-numpy's maps, and lists, as in JSON."""
    array = np.arange(3, dtype="<i4")
    swapped = {"dtype": ">i4", "shape": [3], "data": array.astype(">i4").tobytes()}
    named = {"dtype": "int32", "shape": [3], "data": array.tobytes()}
    other = {b"nd": True, b"type": "<i4", b"kind": b"", b"shape": [3], b"data": array.tobytes()}
    for form in (swapped, named, other):
        assert await ask(http, "/any_array", {"array": form}) == raw(array)
    assert await ask(http, "/any_array", {"array": [0, 1, 2]}) == raw(array.astype("<i8"))


async def test_arrays_beside_other_arguments(http):
    """Arrays anywhere in arguments and results."""
    array = np.arange(3, dtype="<f8")
    assert await ask(http, "/scaled", {"array": raw(array), "factor": 2}) == {"array": raw(array * 2)}


async def test_tensors(http):
    """A tensor arrives as the endpoint's own."""
    array = np.arange(4, dtype="<f4").reshape(2, 2)
    assert await ask(http, "/tensor", {"tensor": raw(array)}) == raw(array + 1)
    answer = await http.post("/tensor", content=npy(array), headers={"content-type": NPY, "accept": NPY})
    assert (from_npy(answer.content) == array + 1).all()


async def test_images(http):
    """An encoded image is binary, without base64."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    assert Image.open(io.BytesIO(await ask(http, "/image", {"image": file.getvalue()}))).size == (3, 2)


GOOD = {"dtype": "<f4", "shape": [2], "data": bytes(8)}
BAD_ARRAYS = {
    "objects": GOOD | {"dtype": "|O"},
    "text": GOOD | {"dtype": "<U1"},
    "records": GOOD | {"dtype": "f4,f4"},
    "times": GOOD | {"dtype": "<M8[s]"},
    "no dtype": GOOD | {"dtype": "<x9"},
    "a number as dtype": GOOD | {"dtype": 5},
    "too short": GOOD | {"data": bytes(7)},
    "huge": GOOD | {"shape": [2**62, 2**62]},
    "negative": GOOD | {"shape": [-1]},
    "no list": GOOD | {"shape": 2},
    "no lengths": GOOD | {"shape": ["2"]},
    "many dimensions": GOOD | {"shape": [1] * 100 + [2]},
    "data as text": GOOD | {"data": "AAAAAAAAAAA="},
    "pickled": {"nd": True, "type": "|O", "kind": b"O", "shape": [1], "data": b"cos\nsystem\n(S'x'\ntR."},
}


@pytest.mark.parametrize("array", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
async def test_bad_arrays(http, array):
    """Each is refused with its place; nothing is allocated for what is only announced."""
    status, error = await ask(http, "/any_array", {"array": array})
    assert (status, error["problems"][0]["at"]) == (422, "array")


async def test_wrong_dtype(http):
    """A dtype that isn't the annotated one is refused, as between services."""
    status, error = await ask(http, "/double", {"array": raw(np.zeros(2))})
    assert (status, error["problems"][0]["problem"]) == (422, "Value error, array of dtype float64, expected float32")


async def test_data_in_json(http):
    """JSON has no binary; nested lists it has."""
    answer = await http.post("/any_array", json={"array": GOOD | {"data": "AAAA"}})
    assert "msgpack" in answer.json()["error"]["problems"][0]["problem"]
    assert (await http.post("/any_array", json={"array": [[1.5]]})).json() == [[1.5]]


# -- .npy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype="f4").reshape(2, 3), np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)), np.zeros((0, 2), "f4")],
    ids=["C", "Fortran", "empty"],
)
async def test_npy(http, array):
    """The body is the array, both ways."""
    answer = await http.post("/double", content=npy(array), headers={"content-type": NPY, "accept": NPY})
    assert (answer.status_code, answer.headers["content-type"]) == (200, NPY)
    found = from_npy(answer.content)
    assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, (array * 2).tolist())


async def test_npy_versions_and_byte_orders(http):
    """A longer header, and data of a machine of the other kind."""
    array = np.arange(3, dtype=">i4")
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(2, 0))
    answer = await http.post("/any_array", content=file.getvalue(), headers={"content-type": NPY})
    assert answer.json() == [0, 1, 2]


def with_header(text):
    header = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


BAD_NPY = {
    "nothing": b"",
    "no magic": b"PK\x03\x04 it is an npz",
    "cut": npy(np.arange(3))[:-1],
    "something behind": npy(np.arange(3)) + b"x",
    "objects": npy(np.array([{}], dtype=object), allow_pickle=True),
    "records": npy(np.zeros(1, "f4,f4")),
    "huge": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 8), }"),
    "code": with_header("__import__('os').getpid()"),
    "deep": with_header("(" * 3000),
    "minus": with_header("-" * 3000 + "1"),
    "long header": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }" + " " * 60000),
    "other version": b"\x93NUMPY\x07\x00" + npy(np.arange(1))[8:],
}


@pytest.mark.parametrize("body", BAD_NPY.values(), ids=BAD_NPY)
async def test_bad_npy(http, body):
    """Each is refused, and the replica lives."""
    answer = await http.post("/any_array", content=body, headers={"content-type": NPY})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "MalformedRequest")
    assert await ask(http, "/add", {"a": 1}) == 2


async def test_npy_for_endpoints_without_arrays(http):
    """415 says what they read, 406 what they write."""
    answer = await http.post("/add", content=npy(np.arange(1)), headers={"content-type": NPY})
    assert (answer.status_code, answer.headers["accept"]) == (415, "application/json, application/msgpack")
    answer = await http.post("/add", json={"a": 1}, headers={"accept": NPY})
    assert (answer.status_code, "application/json" in answer.json()["error"]["instead"]) == (406, True)


# -- streams -----------------------------------------------------------------------------------------------------------


def values(content):
    """Split a sequence of msgpack values, as any streaming decoder does."""
    found = []
    while content:
        length = next(n for n in range(1, len(content) + 1) if _is_value(content[:n]))
        found.append(unpack(content[:length]))
        content = content[length:]
    return found


def _is_value(content):
    try:
        unpack(content)
    except msgspec.DecodeError:
        return False
    return True


async def test_streams_in_msgpack(http):
    """One value after the other."""
    answer = await http.post("/pairs", json={"to": 3}, headers={"accept": MSGPACK})
    assert (answer.headers["content-type"], values(answer.content)) == (MSGPACK, [{"left": n, "right": ["x"]} for n in range(3)])
    answer = await http.post("/arrays", json={"to": 2}, headers={"accept": MSGPACK})
    assert values(answer.content) == [raw(np.full(2, n)) for n in range(2)]


async def test_msgpack_streams_that_fail(http):
    """The last value is the error."""
    answer = await http.post("/broken", json={"after": 2}, headers={"accept": MSGPACK, "x-request-id": "it"})
    assert values(answer.content)[:2] == [0, 1]
    error = values(answer.content)[2]["error"]
    assert (error["message"], error["status"], error["request_id"]) == ("out of tea", 418, "it")


@pytest.mark.parametrize("name", ["application/x-ndjson", "application/jsonl", "application/ndjson"])
async def test_lines_by_every_name(http, name):
    """Their errors, too, are lines."""
    answer = await http.post("/broken", json={"after": 1}, headers={"accept": name})
    assert (answer.headers["content-type"], answer.text.partition("\n")[0], answer.text.count("\n")) == (name, "0", 2)


# -- which form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/*", "text/plain; charset=utf-8"),
        ("application/json;q=0.5, text/plain", "text/plain; charset=utf-8"),
        ("application/json, application/msgpack;q=0.9", "application/json"),
        ("application/msgpack, application/json;q=0.9", MSGPACK),
        ("APPLICATION/MsgPack", MSGPACK),
        ("*/*, application/json;q=0", "text/plain; charset=utf-8"),
        ("application/*;q=0.1, application/msgpack;q=0.2", MSGPACK),
        ("application/json; charset=utf-8", "application/json"),
        ('application/json;v="a,b", application/msgpack', MSGPACK),
        ("nonsense", "application/json"),
        ("image/png", None),
        ("application/json;q=0, application/*;q=0, text/plain;q=0.0", None),
    ],
)
async def test_negotiation(http, accept, chosen):
    """By quality, then by how specific a range is, then by our order; parameters count."""
    answer = await http.post("/upper", json={"text": "a"}, headers={"accept": accept, "accept-charset": "koi8-r"})
    assert (answer.headers["content-type"] if answer.status_code == 200 else None) == chosen
    assert answer.status_code == (406 if chosen is None else 200)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        ("application/problem+json", 200),
        ('text/plain; charset="utf-8"', 200),
        ("text/html", 415),
        ("application/json2", 415),
        ("json", 415),
    ],
)
async def test_content_types(http, content_type, status):
    """Parameters and case don't matter; other types are refused with those that are read."""
    answer = await http.post("/upper", content=b'{"text": "a"}', headers={"content-type": content_type})
    assert answer.status_code == status
    if status == 415:
        assert answer.headers["accept"] == "application/json, text/plain, application/msgpack"
