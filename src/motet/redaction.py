"""Keeping the values of secrets out of what leaves a process: lines of the log, errors and their tracebacks.

What is hidden is hidden in the whole process, by whichever service: a replica's process has one, and inline nobody can tell
which of the services an error has to do with.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_LENGTH = 4  # characters; a shorter value stands in too much that has nothing to do with it
MIN_LINE = 8  # of one line of a value that has several

_lock = threading.Lock()
_counts: Counter[str] = Counter()
_pattern: re.Pattern[str] | None = None
_encoded: re.Pattern[bytes] | None = None
_replaced: Callable[..., logging.LogRecord] | None = None  # the factory of log records before ours


def hide(values: Iterable[str]) -> None:
    """Replace these values by `***` in what leaves this process from now on; those of fewer than 4 characters stay."""
    with _lock:
        _counts.update(value for value in values if len(value) >= MIN_LENGTH)
        _refresh()


def show(values: Iterable[str]) -> None:
    """Undo one `hide`."""
    with _lock:
        _counts.subtract(value for value in values if len(value) >= MIN_LENGTH)
        for value in [value for value, count in _counts.items() if count <= 0]:
            del _counts[value]
        _refresh()


def _refresh() -> None:
    global _pattern, _encoded, _replaced  # noqa: PLW0603  # the process hides, whoever asks for it
    forms = sorted({form for value in _counts for form in _forms(value)}, key=len, reverse=True)
    _pattern = re.compile("|".join(map(re.escape, forms))) if forms else None
    _encoded = re.compile(b"|".join(re.escape(form.encode(errors="surrogateescape")) for form in forms)) if forms else None
    if forms and _replaced is None:
        _replaced = logging.getLogRecordFactory()
        logging.setLogRecordFactory(_record)
    elif not forms and logging.getLogRecordFactory() is _record:  # else another one was put before ours, which calls it
        logging.setLogRecordFactory(_replaced or logging.LogRecord)
        _replaced = None


def _forms(value: str) -> Iterator[str]:
    """Yield how a value may stand in a text: as it is, in Python, JSON or a URL, and line by line."""
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="", errors="surrogateescape")
    yield quote_plus(value, errors="surrogateescape")
    yield from (stripped for line in value.splitlines() if len(stripped := line.strip()) >= MIN_LINE)


def hides(data: bytes | bytearray | memoryview) -> bool:
    """Whether encoded data has a hidden value in it."""
    return _encoded is not None and _encoded.search(data) is not None


def redact(text: str) -> str:
    """Return the text with `***` in place of hidden values."""
    return text if _pattern is None else _pattern.sub(MASK, text)


def redacted(value: Any) -> Any:
    """Return plain data with all texts and bytes in it redacted; what isn't plain is left as it is."""
    if _pattern is None or _encoded is None:
        return value
    if type(value) is str:
        return _pattern.sub(MASK, value)
    if type(value) is bytes:
        return _encoded.sub(MASK.encode(), value)
    if type(value) is dict:
        return {redacted(key): redacted(item) for key, item in cast("Iterable[tuple[Any, Any]]", value.items())}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(redacted(item) for item in value)
    return value


def _record(*args: Any, **options: Any) -> logging.LogRecord:
    """Make a log record in which hidden values don't show, whatever handlers and formatters it comes to."""
    record = (_replaced or logging.LogRecord)(*args, **options)
    if _pattern is None:
        return record
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  # logging would print the arguments that don't fit to stderr
        text = f"{record.msg} {record.args}"
    if (hidden := redact(text)) != text:
        record.msg, record.args = hidden, None
    if record.exc_info:
        trace = logging.Formatter().formatException(record.exc_info)
        if (hidden := redact(trace)) != trace:  # formatters take the text when it is there
            record.exc_info, record.exc_text = None, hidden
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
    return record
