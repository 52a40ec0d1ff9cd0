"""Starting processes and hearing of their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from motet.engines.local.control import (
    ControlConnection,
    Load,
    Loaded,
    LoadFailed,
    Spawn,
    Spawned,
    Stop,
    Variables,
    WantedZygote,
    pack_wanted,
)
from motet.engines.local.given import THREAD_VARIABLES, variables_of
from motet.engines.local.plan import AppPlan, NodePlan, Recipe, environment_for_children, users_path
from motet.errors import StartError
from motet.secret_sources import API_KEY, ENVIRONMENT, Sources, env_variables
from motet.wire import failure

END_WAIT = 5.0  # s that a process gets to end by itself before it is killed
GROUP_LOOKS = 1000  # in that time, at what is left of a group


def start_process(
    module: str,
    *arguments: str,
    descriptors: tuple[int, ...] = (),
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> int:
    """Start `python -m module arguments` in a session of its own, with the given descriptors open; returns its process id."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    try:
        # -P keeps the current folder off the import path, where a user's file could hide one of Python's modules.
        command = [python, "-P", "-m", module, *arguments]
        return os.posix_spawn(python, command, environment if environment is not None else os.environ, setsid=True)
    finally:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)


async def until_end(pid: int) -> None:
    """Wait until a process has ended, a child or any other."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = loop.create_future()
    try:
        loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def exit_status(pid: int) -> int:
    """Wait until a child process has ended and return what `waitpid` says of it; 0 where somebody else has asked before."""
    await until_end(pid)
    try:
        return os.waitpid(pid, 0)[1]  # noqa: ASYNC222  # it has ended: this doesn't wait
    except ChildProcessError:
        return 0


async def exit_status_of_group(leader: int) -> int:
    """Wait until a child has ended that leads a process group, end what it has left of that, and return what `waitpid` says.

    Processes that a replica forked hold its sockets open: as long as one lives, callers don't hear that the replica died.
    """
    await until_end(leader)
    with contextlib.suppress(ProcessLookupError):  # before its id is free for others
        os.killpg(leader, signal.SIGKILL)
    status = await exit_status(leader)
    with contextlib.suppress(ChildProcessError):  # none is left
        for _ in range(GROUP_LOOKS):
            if os.waitpid(-leader, os.WNOHANG)[0] == 0:  # noqa: ASYNC222  # it doesn't wait
                await asyncio.sleep(END_WAIT / GROUP_LOOKS)
    return status


def kill(pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a child that may have ended already."""
    try:
        os.kill(pid, by)
    except ProcessLookupError:
        return


@dataclass(frozen=True, kw_only=True)
class Home:
    """What a process has to find itself in before it loads the user's code.

    Attributes:
        python: path of the interpreter, which decides what packages there are.
        version: of that Python, such as `3.11`.
        variables: environment variables that services declare.
        given: those of the server's `.env` files.
        sources: where the secrets of the apps that are loaded there come from.
        name: for messages and lists; None for the server's own environment.
        key: what tells environments apart: those with equal keys are one.
        layer: folder of a virtual environment on top of the server's packages, of the same Python; None for any other.
    """

    python: str = sys.executable
    version: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    given: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    sources: Sources = ENVIRONMENT
    name: str | None = None
    key: str = ""
    layer: str | None = None

    @classmethod
    def of_server(cls, sources: Sources) -> Home:
        """Return the server's own environment, with what its `.env` files give.

        Raises:
            StartError: one of them can't be read.
        """
        return cls(given=env_variables(sources), sources=sources)

    def within(self, server: Home) -> Home:
        """Return this environment, of a service, with what that of the server gives."""
        return replace(self, given=server.given, sources=server.sources)


class Stem:
    """The process that zygotes are forked from, as the supervisor sees it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._connection: socket.socket | None = None
        self._pid = 0

    def start(self) -> None:
        """Start the process."""
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(0)
        with theirs:
            self._pid = start_process(
                "motet.engines.local.stem", str(theirs.fileno()), descriptors=(theirs.fileno(),), environment=environment_for_children()
            )

    async def fork(self, descriptor: socket.socket, folder: Path, home: Home) -> int:
        """Have a zygote forked that gets a socket; returns its process id, or 0 where a process has to be started instead."""
        own = home.layer is None and home.python == sys.executable
        if self._connection is None or not (own or home.layer is not None):
            return 0
        wanted = WantedZygote(str(folder), os.getpid(), tuple(home.variables), home.layer, home.python)
        loop = asyncio.get_running_loop()
        async with self._lock:
            try:
                async with asyncio.timeout(END_WAIT):
                    socket.send_fds(self._connection, [pack_wanted(wanted)], [descriptor.fileno()])
                    return int.from_bytes(await loop.sock_recv(self._connection, 8), "little")
            except OSError:  # it was killed, or doesn't answer; processes can still be started
                kill(self._pid)
                await self.close()
                return 0

    async def close(self) -> None:
        """End the process; what it has forked lives on."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            await end_of(self._pid)


class Zygote:
    """A zygote process, as the supervisor sees it.

    Args:
        folder: the runtime folder, which the zygote removes should the supervisor be killed.
        stem: that it is forked from where that does.
        home: the environment that it is started in.
        ended: is called when no process will come from it any more.
    """

    def __init__(self, folder: Path, stem: Stem, home: Home | None = None, *, ended: Callable[[], None] = lambda: None) -> None:
        self.home = home or Home()
        self._folder = folder
        self._stem = stem
        self._ended = ended
        self._lock = asyncio.Lock()
        self._connection: ControlConnection | None = None
        self._load: Load | None = None
        self.pid = 0
        self.hazard: str | None = None
        self.files: tuple[str, ...] = ()

    async def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start the process, with some environment variables more; whoever cancels that has to kill it."""
        beginning = asyncio.ensure_future(self._begin(variables or {}))
        try:
            await asyncio.shield(beginning)
        except asyncio.CancelledError:  # the stem's answer is on its way, and would be taken for that to the next request
            await asyncio.wait([beginning])
            raise

    async def _begin(self, variables: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        declared = {**self.home.given, **self.home.variables}
        # What is forked from runs one thread; each replica is set to the number that its service declares.
        declared = {name: value for name, value in declared.items() if name not in THREAD_VARIABLES}
        declared = {name: value for name, value in {**declared, **variables}.items() if name != API_KEY}
        home = replace(self.home, variables=declared)
        with theirs:
            forked = await self._stem.fork(theirs, self._folder, home)
            self.pid = forked or start_process(
                "motet.engines.local.zygote",
                str(theirs.fileno()),
                str(self._folder),
                descriptors=(theirs.fileno(),),
                environment=environment_for_children(home.variables),
                python=home.python,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        self._connection = ControlConnection(reader, writer)
        if forked:
            self._connection.send(Variables(dict(home.variables)))

    async def load(
        self,
        recipe: Recipe,
        *,
        use_main: bool = False,
        classes: tuple[str, ...] = (),
        secrets: tuple[str, ...] = (),
        app: str = "default",
        route: str = "/",
    ) -> AppPlan | None:
        """Have it load the user's code, and forget the secrets of that name; returns the plan if the recipe names a target.

        Raises:
            BaseException: what loading raised, rebuilt.
        """
        return await self._have_loaded(Load(recipe=recipe, use_main=use_main, classes=classes, secrets=secrets, app=app, route=route))

    async def load_as(self, other: Zygote, nodes: Sequence[NodePlan]) -> None:
        """Have it load what `other` has loaded, in its own environment, where these nodes will run.

        Raises:
            BaseException: what loading raised, rebuilt.
        """
        if other._load is None:
            raise StartError("there is no code to load")
        by_name = {node.name: node.cls for node in nodes if node.cls_by_value is None}
        recipe = msgspec.structs.replace(other._load.recipe, sys_path=users_path(other._load.recipe.sys_path))
        classes = tuple(dict.fromkeys(by_name.values()))
        secrets = tuple(name for name in other._load.secrets if name not in self.home.variables)
        load = msgspec.structs.replace(other._load, recipe=recipe, classes=classes, secrets=secrets)
        await self._have_loaded(msgspec.structs.replace(load, environment=self.home.name, services=by_name))

    async def _have_loaded(self, load: Load) -> AppPlan | None:
        self._load = load
        answer = await self._ask(self._load)
        if isinstance(answer, LoadFailed):
            raise failure.rebuild(answer.failure)
        if not isinstance(answer, Loaded):
            message = "the process that loads the code died"
            raise StartError(message, instead="see its output above; a native crash at import is the usual reason")
        if answer.plan is not None:
            self._load = msgspec.structs.replace(load, secrets=answer.plan.secret_names)
        self.hazard = answer.hazard
        self.files = answer.files
        return answer.plan

    async def spawn(self, message: Spawn) -> int:
        """Make a replica and return its process id.

        Raises:
            StartError: the zygote has died or can't fork.
        """
        if self.hazard is not None:
            return await self._become(message)
        used = self._connection
        answer = await self._ask(message)
        if answer is None and await self._revive(used):
            answer = await self._ask(message)
        if not isinstance(answer, Spawned) or answer.pid == 0:
            text = f"{message.identity} couldn't be forked"
            raise StartError(text, instead="the zygote died or no process could be made; see the output above and `ulimit -u`")
        return answer.pid

    async def _revive(self, dead: ControlConnection | None) -> bool:
        """Start the process anew after something killed it, with the code as it is now; returns whether that went well."""
        async with self._lock:
            load, connection = self._load, self._connection
            if load is None or connection is None:  # it was closed on purpose
                return False
            if connection is not dead:  # another replica that was to be made has seen to it
                return True
            await connection.close()
            await self._reap()
            await self.start()
            return isinstance(await self._exchange(load), Loaded)

    async def _become(self, message: Spawn) -> int:
        fresh = Zygote(self._folder, self._stem, self.home)
        try:
            await fresh.start(variables_of(message.placement, message.node.options))
            if self._load is not None:
                await fresh._have_loaded(self._load)
        except BaseException:
            await fresh.kill()
            raise
        connection = fresh._connection
        if connection is not None:
            connection.send(_not_forked(message))
        return fresh.pid

    async def _ask(self, message: Load | Spawn) -> object:
        async with self._lock:
            return await self._exchange(message)

    async def _exchange(self, message: Load | Spawn) -> object:
        if self._connection is None:
            return None
        self._connection.send(message)
        return await self._connection.receive()

    async def close(self) -> None:
        """End the process; replicas that it forked live on."""
        async with self._lock:  # a replica that is being forked is told of first
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.send(Stop())  # else it takes the end of the connection for that of the supervisor
            await connection.close()
        await self._reap()

    async def kill(self) -> None:
        """End the process at once, whatever it is doing; replicas that it forked live on."""
        if self.pid:
            kill(self.pid)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        await self._reap()

    async def _reap(self) -> None:
        pid, self.pid = self.pid, 0
        if pid:
            await end_of(pid)
        if self._connection is None:
            self._ended()


def _not_forked(message: Spawn) -> Spawn:
    return msgspec.structs.replace(message, fork=False)


async def end_of(pid: int, wait: float = END_WAIT) -> int:
    """Wait for a child's end; kill it if it takes longer than `wait` seconds. Returns what `waitpid` says."""
    try:
        async with asyncio.timeout(wait):
            return await exit_status(pid)
    except TimeoutError:
        kill(pid)
        return await exit_status(pid)
    except ProcessLookupError:
        return 0
