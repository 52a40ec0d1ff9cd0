"""A replica: one running instance of a service, with its queue; the same on every engine."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from motet.context import Context, Scope, enter_scope, injected, new_request_id
from motet.definitions import EndpointDefinition, ServiceDefinition
from motet.errors import MotetError, NotFound, UsageError
from motet.options import Config
from motet.runtime.batch_execution import BatchRunner
from motet.runtime.batching import BatchLane
from motet.runtime.exchange import TUNNEL, Request
from motet.runtime.execution import Done, Runner, close_scope
from motet.runtime.lifecycle import REPLICA, Lifecycle
from motet.runtime.lifespan import Lifespan
from motet.runtime.mailbox import Lane, Mailbox, SlotLane
from motet.runtime.threads import WorkerThreads, as_exception
from motet.schema import EndpointSchema, schema_of
from motet.wire import failure

log = logging.getLogger("motet.replica")

ASYNC_CONCURRENCY = 100
LASTING_CONCURRENCY = 1000  # WebSockets and requests of an ASGI app, which mostly wait
SWITCH_INTERVAL = 0.0005  # s; a thread that runs Python code delays the loop by up to this, 5 ms by default


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """What a replica is made from.

    Attributes:
        definition: of the service.
        arguments: for the constructor, with handles in place of dependencies.
        config: the node's options.
        node: name of the node.
        identity: of this replica.
        context: what an injected `Context` gets.
        prepare_thread: run first by each thread that will run sync endpoints.
    """

    definition: ServiceDefinition
    arguments: Mapping[str, object]
    config: Config
    node: str
    identity: str
    context: Context
    prepare_thread: Callable[[], object] | None = None


class Replica:
    """One running instance of a service: constructs it, queues and runs its requests, drains and stops it."""

    def __init__(self, spec: ReplicaSpec) -> None:
        self.spec = spec
        self.lifecycle = Lifecycle(REPLICA, "starting", owner=spec.identity)
        self._requests: set[Request] = set()
        self._idle: asyncio.Event | None = None  # while it drains
        self._lanes: dict[str, Lane] = {}
        self._runners: dict[str, Runner] = {}
        self._mailbox = Mailbox(limit=spec.config.queue, refuse=self._refuse, owner=spec.node)
        endpoints = spec.definition.endpoints.values()
        self._has_sync = any(not endpoint.is_async for endpoint in endpoints)
        self._threads = WorkerThreads(spec.config.concurrency or 1, name=spec.identity, prepare=spec.prepare_thread)
        self._instance: object = None
        self._release: dict[str, Callable[[], None]] = {}
        self._lifespan: Lifespan | None = None

    @property
    def busy(self) -> int:
        """Requests that run or wait."""
        return len(self._requests)

    async def start(self) -> None:
        """Construct the instance (in the worker thread), run its `start` and `health` hooks, and open the queue.

        Raises:
            Exception: what the constructor or a hook raised.
        """
        loop = asyncio.get_running_loop()
        if self._has_sync:
            sys.setswitchinterval(SWITCH_INTERVAL)
        scope = Scope(endpoint=f"{self.spec.node}.__init__", request_id=new_request_id(), trace=None, deadline=float("inf"), loop=loop)

        def construct() -> object:
            enter_scope(scope)
            arguments = dict(self.spec.arguments)
            for name, parameter in self.spec.definition.parameters.items():
                if parameter.default is injected:
                    arguments[name] = self.spec.context
            return call_constructor(self.spec.definition, arguments)

        context = contextvars.copy_context()
        try:
            self._instance = await self._threads.call(lambda: context.run(construct))
            if (start := getattr(self._instance, "start", None)) is not None:
                await start()
            await self.check_health()
            self._open(loop)
            await self._start_ingress()
        except BaseException as error:
            self.lifecycle.move("failed")
            self._threads.close()
            if isinstance(error, Exception | asyncio.CancelledError | KeyboardInterrupt):
                raise
            raise as_exception(error) from error
        finally:
            close_scope(scope)
        self.lifecycle.move("started")

    async def check_health(self) -> None:
        """Run the `health` hook, if there is one; it raises when the replica is sick."""
        if (health := getattr(self._instance, "health", None)) is not None:
            outcome = await health() if inspect.iscoroutinefunction(health) else await self._threads.call(health)
            if outcome is False:
                message = f"{self.spec.node}.health() returned False"
                raise MotetError(message)

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        config = self.spec.config
        sync_lane = SlotLane(self._mailbox, config.concurrency or 1, self._start, loop)
        async_lane = SlotLane(self._mailbox, config.concurrency or ASYNC_CONCURRENCY, self._start, loop)
        lasting_lane = SlotLane(self._mailbox, config.concurrency or LASTING_CONCURRENCY, self._start, loop)
        self._mailbox.lanes += [sync_lane, async_lane, lasting_lane]

        def pass_on(context: contextvars.Context) -> bool:
            if (request := sync_lane.take()) is None:
                return False
            if request.format is TUNNEL:
                loop.call_soon_threadsafe(self._start, request)
            else:
                self._runners[request.endpoint].start_in_thread(request, self._done(request), context)
            return True

        for name, endpoint in self.spec.definition.endpoints.items():
            schema = schema_of(endpoint, self.spec.definition.cls)
            runner = _runner_class(endpoint, schema)(
                endpoint=endpoint,
                schema=schema,
                instance=self._instance,
                loop=loop,
                owner=self.spec.node,
                replica=self.spec.identity,
                threads=self._threads,
                pass_on=pass_on,
            )
            self._runners[name] = runner
            if isinstance(runner, BatchRunner):
                self._lanes[name] = lane = self._batch_lane(endpoint, runner, loop)
                self._mailbox.lanes.append(lane)
                continue
            lasting = schema.surface in ("websocket", "ingress")
            slots = lasting_lane if lasting else async_lane if endpoint.is_async else sync_lane
            self._lanes[name] = slots
            self._release[name] = slots.release

    async def _start_ingress(self) -> None:
        """Make the ASGI app, if the service has one, and run its startup."""
        for name, endpoint in self.spec.definition.endpoints.items():
            if endpoint.ingress:
                runner: Any = self._runners[name]
                app = endpoint.function(self._instance)
                refuse_clashes(app, self.spec.definition)
                self._lifespan = Lifespan(app, where=f"{self.spec.node}.{name}")
                await self._lifespan.start()
                runner.serve(app, self._lifespan.state)

    def _batch_lane(self, endpoint: EndpointDefinition, runner: BatchRunner, loop: asyncio.AbstractEventLoop) -> BatchLane:
        assert endpoint.batching is not None

        def answered(batch: list[Request]) -> None:
            for request in batch:
                self._forget(request)

        def start(batch: list[Request]) -> None:
            runner.start_batch(batch, lane, answered)

        lane = BatchLane(self._mailbox, endpoint.batching, self.spec.config.concurrency or 1, start, loop)
        return lane

    # -- requests --------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Run a request, queue it, or refuse it; the answer goes to its reply."""
        lane = self._lanes.get(request.endpoint)
        if lane is None:
            names = ", ".join(self.spec.definition.endpoints)
            self._refuse(
                request,
                NotFound(f"{self.spec.node} has no endpoint {request.endpoint!r}", where=self.spec.node, instead=f"one of: {names}"),
            )
            return
        self._requests.add(request)
        self._mailbox.put(request, lane)

    def cancel(self, request: Request) -> None:
        """Stop a request: a waiting one is forgotten, a running async one cancelled, a running thread's answer dropped."""
        if request.cancelled:
            return
        request.cancelled = True
        if self._lanes[request.endpoint].withdraw(request):
            self._forget(request)
        elif request.abort is not None:
            request.abort()

    def _start(self, request: Request) -> None:
        done = self._done(request)
        if request.cancelled:  # since a thread has passed its slot on to it
            done()
        else:
            self._runners[request.endpoint].start(request, done)

    def _done(self, request: Request) -> Done:
        release = self._release[request.endpoint]

        def done(*, passed_on: bool = False) -> None:
            self._forget(request)
            if not passed_on:
                release()

        return done

    def _forget(self, request: Request) -> None:
        self._requests.discard(request)
        if self._idle is not None and not self._requests:
            self._idle.set()

    def _refuse(self, request: Request, error: MotetError) -> None:
        self._forget(request)
        if not request.cancelled:
            where = f"{self.spec.node}.{request.endpoint}"
            request.reply.failure(failure.record(error, endpoint=where, replica=self.spec.identity, begun=False))

    # -- the end ---------------------------------------------------------------------------------------------------

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109  # a limit that it keeps by itself, with an answer
        """Refuse what waits and what comes, and let what runs finish.

        Returns:
            Whether everything finished within `timeout` seconds; the rest was cancelled.
        """
        if self.lifecycle.allows("drain"):
            self.lifecycle.move("drain")
        self._mailbox.close("is stopping")
        self._idle = asyncio.Event()
        for request in list(self._requests):
            if request.tunnel is not None:
                request.tunnel.restart()
        try:
            async with asyncio.timeout(timeout):
                if self._requests:
                    await self._idle.wait()
        except TimeoutError:
            left = list(self._requests)
            log.warning(
                "%s: %d calls didn't finish within the drain time of %g s; they are cancelled", self.spec.identity, len(left), timeout
            )
            for request in left:
                runner = self._runners[request.endpoint]
                runner.fail(request, MotetError("the call didn't finish within the drain time", where=runner.where))
                self.cancel(request)
            return False
        return True

    async def stop(self) -> None:
        """Run the `stop` hook and end the threads."""
        if self.lifecycle.allows("stop"):
            self.lifecycle.move("stop")
        self._mailbox.close("has stopped")
        if self._lifespan is not None:
            try:
                async with asyncio.timeout(max(1.0, self.spec.config.drain)):
                    await self._lifespan.stop()
            except Exception:
                log.exception("the shutdown of %s's app failed", self.spec.node)
        if (stop := getattr(self._instance, "stop", None)) is not None:
            try:
                async with asyncio.timeout(max(1.0, self.spec.config.drain)):
                    await stop()
            except Exception:
                log.exception("%s.stop() failed", self.spec.node)
        self._threads.close()
        if self.lifecycle.allows("stopped"):
            self.lifecycle.move("stopped")


def _runner_class(endpoint: EndpointDefinition, schema: EndpointSchema) -> type[Runner]:
    if endpoint.batching is not None:
        return BatchRunner
    if schema.surface == "call":
        return Runner
    from motet.runtime.web_execution import WebRunner  # noqa: PLC0415  # it needs Starlette, which most services don't

    return WebRunner


def refuse_clashes(app: object, definition: ServiceDefinition) -> None:
    """Refuse an ASGI app with a route that one of the service's endpoints has, as far as the app tells its routes.

    Raises:
        UsageError: it has one.
    """
    taken = {f"/{name}" for name, endpoint in definition.endpoints.items() if not endpoint.ingress}
    paths: list[object] = [getattr(route, "path", None) for route in getattr(app, "routes", ())]
    if clashing := sorted({str(path) for path in paths if path in taken}):
        raise UsageError(
            f"the app of {definition.name} has a route that an endpoint has too",
            where=definition.place,
            found=", ".join(clashing),
            instead="another name of the endpoint, or of the route",
        )


def call_constructor(definition: ServiceDefinition, arguments: Mapping[str, object]) -> object:
    """Construct the service from arguments by parameter name, spreading those of `*args` and `**kwargs`."""
    positional: list[object] = []
    named: dict[str, object] = {}
    for name, parameter in definition.parameters.items():
        if name not in arguments:
            continue
        value = arguments[name]
        if parameter.kind is parameter.VAR_POSITIONAL and isinstance(value, tuple):
            positional += value
        elif parameter.kind is parameter.VAR_KEYWORD and isinstance(value, dict):
            named.update(cast("dict[str, object]", value))
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(value)
        else:
            named[name] = value
    return definition.cls(*positional, **named)
