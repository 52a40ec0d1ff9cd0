"""What serving needs on every engine: its options, the signals that end it, and what is said on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import click

from motet.cli.errors import explain, relative
from motet.engines.local.logs import LOG_FORMAT
from motet.engines.local.plan import AppPlan
from motet.graph_views import route_text
from motet.options import HttpOptions
from motet.secret_sources import Sources

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_ROUTES = 12  # shown at start
SAME_PRESS = 0.2  # s in which a signal comes again because a wrapper passes on what the terminal has sent to all already


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `motet serve` was asked for."""

    target: str
    host: str
    port: int
    route: str
    name: str
    reload: bool
    api_keys: tuple[str, ...]
    http: HttpOptions
    resources: Mapping[str, float]
    sources: Sources


class StopSignals:
    """Takes the signals that end a server: the first asks it to finish, the second to end at once."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.number = signal.SIGTERM
        self._taken = 0.0
        loop = asyncio.get_running_loop()
        for each in STOP_SIGNALS:
            loop.add_signal_handler(each, self._take, each)

    def _take(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.first.is_set():
            self.number, self._taken = number, now
            self.first.set()
        elif number != self.number or now - self._taken > SAME_PRESS:
            self.second.set()

    @property
    def exit_code(self) -> int:
        """The exit code of a program that a signal ended."""
        return 128 + self.number

    async def first_or(self, *others: asyncio.Task[object]) -> None:
        """Wait for the first signal, or until one of the tasks has ended."""
        await _either(self.first, others)

    async def second_or(self, *others: asyncio.Task[object]) -> None:
        """Wait for the second signal, or until one of the tasks has ended."""
        await _either(self.second, others)


async def _either(event: asyncio.Event, others: Collection[asyncio.Task[object]]) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


class Screen:
    """Tells whoever started a server what happens. That nobody reads it any more doesn't end the server."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._serving = False
        logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)

    def _say(self, text: str, *, err: bool = False) -> None:
        with contextlib.suppress(OSError):
            click.echo(text, err=err)

    def progress(self, line: str) -> None:
        """Say what has just happened; with the time once the server runs."""
        stamp = time.strftime("%H:%M:%S ") if self._serving else "  "
        self._say(stamp + relative(line))

    def problem(self, error: BaseException) -> None:
        """Say what went wrong while the server goes on."""
        self._say(explain(error), err=True)

    def loading(self) -> None:
        """Say that the target is being loaded."""
        self._say(f"Loading {self._options.target}")

    def starting(self, plan: AppPlan) -> None:
        """Say what is being started."""
        count = len(plan.nodes)
        self._say(f"Starting {count} service{'s' if count != 1 else ''}: {', '.join(node.name for node in plan.nodes)}")

    def ready(self, plan: AppPlan, url: str, *notes: str) -> None:
        """Say where the app is and how to talk to it."""
        root = plan.node(plan.root)
        lines = ["", click.style(f"{self._options.target} is served at {url}", bold=True), ""]
        routes = [f"  {route_text(endpoint.surface, endpoint.methods, plan.paths[endpoint.name])}" for endpoint in root.endpoints]
        lines += [*routes[:MAX_ROUTES], *([f"  and {len(routes) - MAX_ROUTES} more"] if len(routes) > MAX_ROUTES else [])]
        if first := next((endpoint for endpoint in root.endpoints if endpoint.surface == "call"), None):
            lines += [
                "",
                "Try:",
                "  " + self._curl(url, plan.paths[first.name], plan.examples.get(first.name, ""), stream=first.kind == "stream"),
            ]
        lines += ["", f"API description: {url}/docs", *notes, "Stop with Ctrl-C.", ""]
        self._say("\n".join(lines))
        self._serving = True

    def _curl(self, url: str, path: str, body: str, *, stream: bool) -> str:
        words = ["curl", "-N"] if stream else ["curl"]
        words += [shlex.quote(url + path)]
        if self._options.api_keys:
            words += ["-H", '"authorization: Bearer $MOTET_API_KEY"']
        words += ["-H 'content-type: application/json'", "-d", shlex.quote(body)] if body else ["-X", "POST"]
        return " ".join(words)

    def stopping(self, running: int) -> None:
        """Say that the server stops, and what it waits for."""
        self._serving = False
        calls = f"{running} call{'s' if running != 1 else ''} running"
        self._say(f"stopping: {calls}" + ("; once more to end at once" if running else ""))

    def ending_at_once(self) -> None:
        """Say that nothing is waited for any more."""
        self._say("ending at once")
