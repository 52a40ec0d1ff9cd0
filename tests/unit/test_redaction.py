"""What leaves a process has no secrets in it: texts in all the forms in which a value shows, log records, errors."""

import io
import json
import logging
import pickle
from urllib.parse import quote

import pytest

from motet import redaction
from motet.errors import RemoteError
from motet.wire import failure

VALUE = "hunter2/ä\n\"&'"


@pytest.fixture
def hidden():
    redaction.hide([VALUE, "abc", "first line of it\n  second line  "])
    yield
    redaction.show([VALUE, "abc", "first line of it\n  second line  "])
    assert redaction.redact(VALUE) == VALUE


@pytest.fixture
def output(hidden):
    """What is logged with an ordinary handler and format."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("test_redaction")
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)
    logger.propagate = True


log = logging.getLogger("test_redaction")


def test_forms(hidden):
    """As it is, as Python, JSON and URLs write it, and line by line, since tracebacks are indented."""
    forms = [VALUE, repr(VALUE), json.dumps(VALUE), quote(VALUE, safe="")]
    for form in forms:
        text = redaction.redact(f"a {form} b")
        assert "hunter2" not in text
        assert text.startswith("a ")
        assert text.endswith(" b")
        assert "***" in text
    assert redaction.redact("  first line of it\n  | second line") == "  ***\n  | ***"


def test_short_values_stay(hidden):
    assert redaction.redact("abcdef") == "abcdef"


def test_counts(hidden):
    """What two have hidden stays hidden until both are done."""
    redaction.hide([VALUE])
    redaction.show([VALUE])
    assert redaction.redact(VALUE) == "***"


def test_plain_data(hidden):
    assert redaction.redacted({VALUE: [VALUE, (1, VALUE.encode()), {"a": None}]}) == {"***": ["***", (1, b"***"), {"a": None}]}


class Odd:
    def __repr__(self):
        raise ValueError


def test_log_lines(output):
    """The message, its arguments, tracebacks and stacks, for whatever handler; the other lines are as they were."""
    log.error("with %s", VALUE)
    log.error("in a %s", {"key": VALUE})
    log.error("harmless %d", 3)
    log.error(*("wrong %d %s", VALUE))
    try:
        int(VALUE)
    except ValueError:
        log.exception("raised")
    log.error("stack", stack_info=True, extra={"more": 1})
    lines = output.getvalue()
    assert "hunter2" not in lines
    assert lines.startswith("ERROR with ***\nERROR in a {'key': '***'}\nERROR harmless 3\nERROR wrong %d %s")
    assert "int() with base 10: '***'" in lines
    assert "Stack (most recent call last)" in lines


def test_factory_is_put_back():
    before = logging.getLogRecordFactory()
    redaction.hide(["hunter2"])
    assert logging.getLogRecordFactory() is not before
    redaction.show(["hunter2"])
    assert logging.getLogRecordFactory() is before


class Own(Exception):
    def __init__(self, text, detail):
        super().__init__(text)
        self.detail = detail


class Deep(Exception):
    def __init__(self, holder):
        super().__init__("deep")
        self.holder = holder


class Holder:
    def __init__(self, text):
        self.text = text


def test_errors(hidden):
    """Message, arguments, attributes, fields and causes; the class is the same."""
    try:
        try:
            {}[VALUE]
        except KeyError as cause:
            raise Own(f"no {VALUE}", {"token": VALUE}) from cause
    except Own as error:
        record = failure.record(error, endpoint="A.f", replica="A#1")
    assert b"hunter2" not in pickle.dumps(record)
    rebuilt = failure.rebuild(record)
    assert (type(rebuilt), str(rebuilt), rebuilt.detail) == (Own, "no ***", {"token": "***"})
    assert "KeyError: '***'" in "\n".join(rebuilt.__notes__)


def test_errors_that_nobody_can_look_into(hidden):
    """A value within an object of the user's own: the object doesn't travel."""
    record = failure.record(Deep(Holder(VALUE)), endpoint="A.f", replica="A#1")
    assert b"hunter2" not in pickle.dumps(record)
    rebuilt = failure.rebuild(record)
    assert (type(rebuilt), rebuilt.kind, rebuilt.message) == (RemoteError, "Deep", "deep")


def test_local_errors(hidden):
    """An exception of this process stays what it is, unless a value shows."""
    harmless, telling = ValueError("fine"), ValueError(VALUE)
    assert failure.without_secrets(harmless, endpoint="A.__init__", replica="A#1") is harmless
    assert str(failure.without_secrets(telling, endpoint="A.__init__", replica="A#1")) == "***"
