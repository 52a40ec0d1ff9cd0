"""What callers know of a node: pure data, enough to make a handle and to route, without its class."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from motet.definitions import Kind, ServiceDefinition
from motet.options import CallOptions, Config


class EndpointPlan(msgspec.Struct, frozen=True):
    """One endpoint as its callers see it: how it answers, its time limit in seconds, and whether it may be repeated."""

    name: str
    kind: Kind
    timeout: float | None
    idempotent: bool


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
            idempotent=plan.idempotent,
            timeout=plan.timeout if options.timeout is None else options.timeout,
            retries=options.retries,
        )


def endpoint_plans(definition: ServiceDefinition, config: Config) -> tuple[EndpointPlan, ...]:
    """Return the plans of a service's endpoints under the options of its node."""
    return tuple(
        EndpointPlan(name=e.name, kind=e.kind, timeout=definition.timeout_of(e, config), idempotent=definition.is_idempotent(e, config))
        for e in definition.endpoints.values()
    )


def by_name(plans: tuple[EndpointPlan, ...]) -> Mapping[str, EndpointPlan]:
    """Return the plans by endpoint name."""
    return {plan.name: plan for plan in plans}
