"""How log lines of a server's processes look."""

from __future__ import annotations

import logging

from motet.context import current_scope

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_REPLICA_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s%(of_request)s: %(message)s"
_CHATTY = ("httpx", "httpx2")  # a line at INFO for each request that a library of the user's makes


def log_as_replica() -> None:
    """Have lines of a replica's log name the request that they belong to."""
    logging.basicConfig(level=logging.INFO, format=_REPLICA_LOG_FORMAT)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_name_request)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _name_request(record: logging.LogRecord) -> bool:
    scope = current_scope()
    record.of_request = f" [{scope.request_id}]" if scope is not None else ""
    return True
