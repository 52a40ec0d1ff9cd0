"""Serving with the local engine: this process is the supervisor, and never loads the target itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from motet.cli.reload import Reloader
from motet.cli.serving import Screen, ServeOptions, StopSignals
from motet.engines.hardware import detect
from motet.engines.local.descriptors import allow_many_descriptors
from motet.engines.local.listening import listen, url_of
from motet.engines.local.plan import AppPlan, Recipe, absolute_path
from motet.engines.local.processes import Home, Zygote
from motet.engines.local.supervisor import Supervisor
from motet.errors import StartError
from motet.gateway.auth import check_bind

PATIENCE = 10.0  # s between lines that say what is still starting
KILL_WAIT = 2.0  # s that stopping may go on after everything was killed


async def serve_local(options: ServeOptions, screen: Screen) -> int:
    """Serve until a signal comes; returns the exit code.

    Raises:
        MotetError: it can't be started; nothing is left running.
    """
    allow_many_descriptors()
    check_bind(options.host, options.api_keys)
    machine = detect().declared(options.resources)
    listening = listen(options.host, options.port, count=options.http.gateways)
    signals = StopSignals()
    url = url_of(listening[0])
    supervisor = Supervisor(
        target=options.target,
        listening=listening,
        url=url,
        api_keys=options.api_keys,
        http=options.http,
        report=screen.progress,
        machine=machine,
    )
    await supervisor.start()
    server = _Server(options, screen, supervisor)
    starting = asyncio.create_task(server.start())
    await signals.first_or(starting)
    if not starting.done() or starting.exception() is not None:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await server.abandon()
        if not starting.cancelled():
            starting.result()  # raises what it failed with
        return signals.exit_code
    screen.ready(starting.result(), url, *(["The code is watched: services whose code changes are restarted."] if options.reload else []))
    ended = asyncio.create_task(supervisor.ended.wait())
    reloading = asyncio.create_task(server.reload_on_change())
    await signals.first_or(ended)
    for task in (ended, reloading):
        task.cancel()
    await asyncio.gather(ended, reloading, return_exceptions=True)
    return await _stop(supervisor, signals, screen)


class _Server:
    """The app that is served, and the zygote that its replicas are forked from."""

    def __init__(self, options: ServeOptions, screen: Screen, supervisor: Supervisor) -> None:
        self._options = options
        self._screen = screen
        self._supervisor = supervisor
        self._zygote: Zygote | None = None
        self._begun = time.time()

    async def start(self) -> AppPlan:
        """Load the target in a zygote and start what it names."""
        self._screen.loading()
        self._zygote, plan = await self._load()
        self._screen.starting(plan)
        telling = asyncio.create_task(self._tell_who_is_late())
        try:
            await self._supervisor.deploy(plan, self._zygote)
            await self._supervisor.gateway_ready()
        finally:
            telling.cancel()
        return plan

    async def _load(self) -> tuple[Zygote, AppPlan]:
        zygote = await self._supervisor.new_zygote(Home.of_server(self._options.sources))
        try:
            recipe = Recipe(sys_path=absolute_path(), folder=str(Path.cwd()), target=self._options.target)
            plan = await zygote.load(recipe, app=self._options.name, route=self._options.route)
        except BaseException:
            await zygote.kill()
            raise
        if plan is None:
            raise StartError("the target has no plan", where=self._options.target)
        return zygote, plan

    async def reload_on_change(self) -> None:
        """Keep what runs at the newest code, if that was asked for, until cancelled."""
        if self._zygote is None or not self._options.reload:
            return
        reloader = Reloader(
            self._supervisor,
            self._load,
            self._zygote,
            target=self._options.target,
            given=self._options.sources.paths,
            since=self._begun,
            screen=self._screen,
        )
        try:
            await reloader.run()
        except OSError as error:  # the system watches no more files, say
            self._screen.problem(error)
            self._screen.progress("the code isn't watched any more; what runs goes on")

    async def _tell_who_is_late(self) -> None:
        seconds = 0.0
        while True:
            await asyncio.sleep(PATIENCE)
            seconds += PATIENCE
            if late := [node.name for app in self._supervisor.status().apps for node in app.nodes if node.state == "starting"]:
                self._screen.progress(f"still starting after {seconds:g} s: {', '.join(late)}")

    async def abandon(self) -> None:
        """Leave nothing of a start that failed or was interrupted."""
        if self._zygote is not None:
            await self._zygote.kill()
        await self._supervisor.stop()


async def _stop(supervisor: Supervisor, signals: StopSignals, screen: Screen) -> int:
    """Let running calls finish, unless a second signal comes; returns the exit code."""
    screen.stopping(await supervisor.count_calls())
    stopping = asyncio.create_task(supervisor.stop())
    await signals.second_or(stopping)
    if stopping.done():
        stopping.result()
        return 0
    screen.ending_at_once()
    supervisor.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_WAIT):
            await stopping
    return signals.exit_code
