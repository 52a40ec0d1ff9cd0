"""Errors survive pickling, JSON and the way between processes."""

import json
import pickle

import pytest

import motet
from motet import errors
from motet.errors import HTTP_STATUS, Fault, MotetError, http_status, public_fields
from motet.wire import failure

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MotetError)]
PLAIN = [kind for kind in CLASSES if kind not in (errors.DefinitionError, errors.HTTPError)]


def samples():
    for kind in PLAIN:
        yield kind("a message", where="w.py:1", found="this", instead="that")
    yield errors.HTTPError(418, "teapot", where="w")
    yield errors.DefinitionError(
        [Fault(place="a.py:1", subject="S", message="m", instead="i"), Fault(place="b.py:2", subject="T", message="n")]
    )
    yield errors.InvalidInput("2 problems", problems=[{"at": "a.b", "problem": "p", "found": "f"}], where="w")
    yield errors.Overloaded("full", retry_after=7.5)
    yield errors.RemoteError("text", kind="Strange", where="w")


def same(found, error):
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert public_fields(found) == public_fields(error)
    assert http_status(found) == http_status(error)


@pytest.mark.parametrize("error", list(samples()), ids=lambda error: type(error).__name__)
def test_pickling(error):
    """Class, text, fields and status survive pickling."""
    same(pickle.loads(pickle.dumps(error)), error)


@pytest.mark.parametrize("error", list(samples()), ids=lambda error: type(error).__name__)
def test_between_processes(error):
    """They survive the way between processes, twice, and each hop is noted."""
    once = failure.decode_failure(failure.encode_failure(failure.record(error, endpoint="A.f", replica="A#1")))
    twice = failure.decode_failure(failure.encode_failure(failure.record(failure.rebuild(once), endpoint="B.g", replica="B#1")))
    found = failure.rebuild(twice)
    same(found, error)
    assert [hop.endpoint for hop in twice.hops] == ["A.f", "B.g"]
    assert len(found.__notes__) == 1


@pytest.mark.parametrize("error", list(samples()), ids=lambda error: type(error).__name__)
def test_fields_are_json(error):
    """What an HTTP client is told can be written as JSON."""
    assert json.loads(json.dumps(public_fields(error)))["type"]


@pytest.mark.parametrize("kind", HTTP_STATUS)
def test_statuses(kind):
    """Each class of the table has its status, and its subclasses have it too."""
    assert http_status(kind("x")) == HTTP_STATUS[kind]
    assert http_status(type("Sub", (kind,), {})("x")) == HTTP_STATUS[kind]


def test_other_exceptions_are_500():
    """An exception of the user's own is a 500."""
    assert http_status(ValueError()) == 500


def test_deadline_is_a_timeout():
    """A passed deadline is a TimeoutError, as wait_for raises it."""
    assert issubclass(motet.DeadlineExceeded, TimeoutError)
