"""Motet: write models as typed services, bind them into a graph, and run the same program inline, locally or on a cluster."""

import importlib
from typing import TYPE_CHECKING

from motet._version import __version__
from motet.calls import Call
from motet.context import Context, CurrentRequest, current_request, injected
from motet.errors import (
    CallCancelled,
    DeadlineExceeded,
    DefinitionError,
    FetchError,
    FetchRefused,
    HTTPError,
    InvalidInput,
    InvalidOutput,
    MotetError,
    NotFound,
    Overloaded,
    RefExpired,
    RemoteError,
    ReplicaDied,
    ShuttingDown,
    StartError,
    Unavailable,
    UsageError,
)
from motet.faces import Failed
from motet.forwarding import Forwarded
from motet.graph import replace_service as replace
from motet.options import Assets, Autoscale, CallOptions, Config, Environment, HttpOptions, Image, Resources
from motet.service import Service, batched, depends, endpoint, ingress
from motet.shared import Shared
from motet.streams import Stream
from motet.web import CLASSES as _WEB

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from motet.connecting import Connected, connect
    from motet.mounting import Mounted, asgi
    from motet.running import Running, delete, run, status
    from motet.wire.buffers import empty

# What not every program needs, and the modules that it is imported from when it is asked for.
_ON_DEMAND = {
    **_WEB,
    **dict.fromkeys(("Connected", "connect"), "motet.connecting"),
    **dict.fromkeys(("Mounted", "asgi"), "motet.mounting"),
    **dict.fromkeys(("Running", "delete", "run", "status"), "motet.running"),
    "empty": "motet.wire.buffers",
}


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name not in _ON_DEMAND:
        message = f"module 'motet' has no attribute {name!r}"
        raise AttributeError(message)
    found: object = getattr(importlib.import_module(_ON_DEMAND[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Name what is imported on demand, too."""
    return sorted({*globals(), *_ON_DEMAND})


__all__ = [
    "Assets",
    "Autoscale",
    "Call",
    "CallCancelled",
    "CallOptions",
    "Config",
    "Connected",
    "Context",
    "CurrentRequest",
    "DeadlineExceeded",
    "DefinitionError",
    "Environment",
    "Failed",
    "FetchError",
    "FetchRefused",
    "Forwarded",
    "HTTPError",
    "HttpOptions",
    "Image",
    "InvalidInput",
    "InvalidOutput",
    "MotetError",
    "Mounted",
    "NotFound",
    "Overloaded",
    "RefExpired",
    "RemoteError",
    "ReplicaDied",
    "Request",
    "Resources",
    "Response",
    "Running",
    "Service",
    "Shared",
    "ShuttingDown",
    "StartError",
    "Stream",
    "Unavailable",
    "UploadFile",
    "UsageError",
    "WebSocket",
    "__version__",
    "asgi",
    "batched",
    "connect",
    "current_request",
    "delete",
    "depends",
    "empty",
    "endpoint",
    "ingress",
    "injected",
    "replace",
    "run",
    "status",
]
