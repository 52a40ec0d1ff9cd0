"""Motet: write models as typed services, bind them into a graph, and run the same program inline, locally or on a cluster."""

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
from motet.service import Service, batched, depends, endpoint

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
    "Resources",
    "Running",
    "Service",
    "ShuttingDown",
    "StartError",
    "Stream",
    "Unavailable",
    "UsageError",
    "__version__",
    "batched",
    "connect",
    "current_request",
    "delete",
    "depends",
    "endpoint",
    "injected",
    "replace",
    "run",
    "status",
]
