"""What callers know of a node: pure data, enough to make a handle and to route, without its class."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from motet.definitions import INHERIT, EndpointDefinition, Kind, ServiceDefinition, Surface
from motet.options import CallOptions, Config
from motet.schema import schema_of


class EndpointPlan(msgspec.Struct, frozen=True):
    """One endpoint as its callers see it.

    Attributes:
        name: of the method.
        kind: whether it answers once or with a stream.
        timeout: seconds that a call may take, or None.
        idempotent: whether a call may be repeated.
        surface: how its requests come over HTTP.
        methods: of HTTP that it answers to.
        over_http: whether it needs an HTTP request, so that services can't call it.
        shares: whether tensors in its results are shared with the caller.
    """

    name: str
    kind: Kind
    timeout: float | None
    idempotent: bool
    surface: Surface = "call"
    methods: tuple[str, ...] = ("POST",)
    over_http: bool = False
    shares: bool = False


class HandleSpec(msgspec.Struct, frozen=True):
    """What a handle is made from: the node's address, its class name and endpoints, and the edge's options."""

    address: str
    service: str
    endpoints: tuple[EndpointPlan, ...]
    timeout: float | None = None
    retries: int | None = None

    @property
    def options(self) -> CallOptions:
        """The edge's options."""
        return CallOptions(timeout=self.timeout, retries=self.retries)


class Method(msgspec.Struct, frozen=True):
    """One endpoint as a handle calls it: everything that all calls by it have in common, found once."""

    name: str
    address: str
    endpoint: str
    streams: bool
    shares: bool
    idempotent: bool
    timeout: float | None
    retries: int | None

    @classmethod
    def of(cls, spec: HandleSpec, plan: EndpointPlan, options: CallOptions) -> Method:
        """Return an endpoint of a node under the options of a handle."""
        return cls(
            name=f"{spec.service}.{plan.name}",
            address=spec.address,
            endpoint=plan.name,
            streams=plan.kind == "stream",
            shares=plan.shares,
            idempotent=plan.idempotent,
            timeout=plan.timeout if options.timeout is None else options.timeout,
            retries=options.retries,
        )


def endpoint_plans(definition: ServiceDefinition, config: Config) -> tuple[EndpointPlan, ...]:
    """Return the plans of a service's endpoints under the options of its node."""
    return tuple(_plan(endpoint, definition, config) for endpoint in definition.endpoints.values())


def _plan(endpoint: EndpointDefinition, definition: ServiceDefinition, config: Config) -> EndpointPlan:
    schema = schema_of(endpoint, definition.cls)
    lasting = schema.surface == "websocket" and endpoint.timeout is INHERIT  # as long as both sides want
    return EndpointPlan(
        name=endpoint.name,
        kind=endpoint.kind,
        timeout=None if lasting else definition.timeout_of(endpoint, config),
        idempotent=definition.is_idempotent(endpoint, config),
        surface=schema.surface,
        methods=schema.methods,
        over_http=schema.over_http,
        shares=schema.shares_result,
    )


def by_name(plans: tuple[EndpointPlan, ...]) -> Mapping[str, EndpointPlan]:
    """Return the plans by endpoint name."""
    return {plan.name: plan for plan in plans}
