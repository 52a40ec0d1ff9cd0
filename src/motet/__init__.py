"""Motet: write models as typed services, bind them into a graph, and run the same program inline, locally or on a cluster."""

from typing import TYPE_CHECKING

from motet._version import __version__
from motet.calls import Call, Stream
from motet.connecting import Connected, connect
from motet.context import Context, CurrentRequest, current_request, injected
from motet.errors import (
    CallCancelled,
    DeadlineExceeded,
    DefinitionError,
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
from motet.options import Assets, Autoscale, CallOptions, Config, Environment, Image, Resources
from motet.running import Running, delete, run, status
from motet.service import Service, batched, depends, endpoint, ingress
from motet.web import CLASSES as _WEB
from motet.web import load as _load

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket


def __getattr__(name: str) -> object:
    """Import what only some programs need: `Request`, `Response`, `UploadFile` and `WebSocket`."""
    if name in _WEB:
        return _load(name)
    message = f"module 'motet' has no attribute {name!r}"
    raise AttributeError(message)


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
    "Forwarded",
    "HTTPError",
    "Image",
    "InvalidInput",
    "InvalidOutput",
    "MotetError",
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
    "ShuttingDown",
    "StartError",
    "Stream",
    "Unavailable",
    "UploadFile",
    "UsageError",
    "WebSocket",
    "__version__",
    "batched",
    "connect",
    "current_request",
    "delete",
    "depends",
    "endpoint",
    "ingress",
    "injected",
    "replace",
    "run",
    "status",
]
