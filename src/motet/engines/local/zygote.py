"""The zygote: a process that has the user's code loaded, and forks replicas in milliseconds.

It runs no event loop and starts no thread, since neither survives a fork. Replicas are handed to the supervisor (double fork,
the supervisor is a subreaper), so the death of the zygote spares them. Where forking isn't safe, a fresh zygote loads the
code and becomes the replica itself.
"""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from setproctitle import setproctitle

from motet import schema
from motet.absent import refuse_users, set_place
from motet.check import service_faults
from motet.engines.interface import run_preload
from motet.engines.local.control import (
    PREFIX_SIZE,
    ControlMessage,
    Load,
    Loaded,
    LoadFailed,
    Spawn,
    Spawned,
    Stop,
    message_length,
    pack_message,
    unpack_message,
)
from motet.engines.local.forking import fork_for_supervisor
from motet.engines.local.plan import AppPlan, plan_graph
from motet.engines.local.replica_process import node_arguments, node_class, run_replica
from motet.errors import DefinitionError, TargetError
from motet.graph import compile_graph
from motet.identity import is_users_file
from motet.linux import die_with_parent, fork_hazard
from motet.service import definition_of
from motet.targets import Loading, import_source, importing, load_script, load_target, split_target
from motet.wire import failure, names

ORPHAN_WAIT = 5.0  # s


def main() -> None:
    """Serve the supervisor until it says stop, or dies; the arguments are the descriptor of its socket and the runtime folder."""
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), os.getppid())


def serve(connection: socket.socket, folder: Path, supervisor: int) -> None:
    """Be a zygote.

    Args:
        connection: to the supervisor.
        folder: the runtime folder.
        supervisor: its process id; it is the parent.
    """
    setproctitle("motet zygote")

    def orphaned(*_: object) -> None:
        if os.getppid() != supervisor:
            shutil.rmtree(folder, ignore_errors=True)  # the supervisor was killed: nobody else is left to do it
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor, which decides
    signal.signal(signal.SIGTERM, orphaned)
    die_with_parent(supervisor, by=signal.SIGTERM)
    zygote = _Zygote(connection)
    while (message := receive(connection)) is not None:
        if isinstance(message, Load):
            zygote.load(message)
        elif isinstance(message, Spawn) and message.fork:
            zygote.fork(message)
        elif isinstance(message, Spawn):
            die_with_parent(supervisor)
            connection.close()
            if message.node.preloads:
                preload(message)
            run_replica(message)
        elif isinstance(message, Stop):
            return
    deadline = time.monotonic() + ORPHAN_WAIT
    while time.monotonic() < deadline:  # its end of the socket is closed a moment before it counts as dead
        orphaned()
        time.sleep(0.001)


def receive(connection: socket.socket) -> ControlMessage | None:
    """Wait for a message of the supervisor; None is its end."""
    prefix = _exactly(connection, PREFIX_SIZE)
    body = _exactly(connection, message_length(prefix)) if prefix is not None else None
    return unpack_message(body) if body is not None else None


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        try:
            piece = connection.recv(count - len(data))
        except ConnectionError:
            return None
        if not piece:
            return None
        data += piece
    return bytes(data)


class _Zygote:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._preloaded: set[str] = set()

    def load(self, message: Load) -> None:
        """Import the user's code and report what it is."""
        os.chdir(message.recipe.folder)
        try:
            plan: AppPlan | None = None
            if message.environment is None:
                plan = _load_own(message)
            else:
                _load_elsewhere(message)
            for name in (*message.secrets, *(plan.secret_names if plan is not None else ())):
                os.environ.pop(name, None)  # what is forked from here has the environment of this process
        except BaseException as error:  # noqa: BLE001  # user code may raise anything; all of it is reported
            self._send(LoadFailed(failure.record(error, endpoint="loading", replica=f"pid {os.getpid()}")))
            return
        _single_thread()
        _warm_up(message.classes if plan is None else [node.cls for node in plan.nodes if node.cls_by_value is None])
        self._send(Loaded(plan=plan, hazard=fork_hazard(), files=user_files()))

    def fork(self, message: Spawn) -> None:
        """Fork a replica and tell its process id."""
        if message.node.preloads and message.node.digest not in self._preloaded:
            self._preloaded.add(message.node.digest)
            preload(message)
        gc.collect()
        gc.freeze()  # keeps the collector from touching, and so copying, what the children share
        try:
            pid = fork_for_supervisor(functools.partial(self._be_replica, message))
        except OSError as error:  # no memory, no descriptors, or too many processes: this one may still recover
            print(f"{message.identity} couldn't be forked: {error}", file=sys.stderr)  # noqa: T201  # no log is set up in this process
            pid = 0
        self._send(Spawned(identity=message.identity, pid=pid))

    def _be_replica(self, message: Spawn) -> None:
        self._connection.close()
        die_with_parent(message.supervisor)
        run_replica(message)

    def _send(self, message: ControlMessage) -> None:
        self._connection.sendall(pack_message(message))


def _load_own(message: Load) -> AppPlan | None:
    """Load the code in the server's own environment, where apps are described."""
    recipe = message.recipe
    sys.path[:] = recipe.sys_path
    plan: AppPlan | None = None
    if recipe.target is not None:
        sys.argv = [recipe.target.rpartition(":")[0]]
        plan = plan_graph(compile_graph(load_target(recipe.target), name=message.app, route=message.route))
        here = [node for node in plan.nodes if not node.options.environment.has_packages and node.cls_by_value is None]
        refuse_users({node.name: names.load_class(node.cls) for node in here})
    elif message.use_main:
        load_script(recipe.script, recipe.module)
    with importing():
        for name in message.classes:
            _find(name)
    return plan


def _load_elsewhere(message: Load) -> None:
    """Load the code in the environment of some of its services."""
    recipe = message.recipe
    setproctitle(f"motet zygote {message.environment}")
    set_place(environment=message.environment, service=", ".join(message.services))
    # What the user has written comes first, as it does in the server: the same name means the same module.
    sys.path[:] = dict.fromkeys((*recipe.sys_path, *sys.path))
    loading = Loading(elsewhere=True)
    if recipe.target is not None:
        source = split_target(recipe.target)[0]
        sys.argv = [source]
        import_source(source, loading)
    elif message.use_main:
        load_script(recipe.script, recipe.module, loading)
    with importing():
        for name in message.classes:
            loading.run(functools.partial(_find, name))
    loading.settle(None)
    refuse_users({service: names.load_class(name) for service, name in message.services.items()})
    faults = [fault for name in message.classes for fault in service_faults(definition_of(names.load_class(name)), final=True)]
    if faults:
        raise DefinitionError(faults)


def preload(message: Spawn) -> None:
    """Run the class's `preload` with the constructor arguments that it asks for; an error shows again in the constructor's replica."""
    try:
        run_preload(node_class(message.node), node_arguments(message.node))
    except Exception:  # noqa: BLE001  # the replica constructs without what was preloaded, or fails with its own error
        traceback.print_exc()
    _single_thread()


def _find(name: str) -> type:
    try:
        return names.load_class(name)
    except ImportError as error:
        module, _, qualified = name.partition(":")
        raise TargetError(
            f"replicas can't find the class {qualified}: {error}",
            where=module,
            instead="define it at the top level of a module, or above `if __name__ == '__main__':`",
        ) from error


def _warm_up(classes: Iterable[str]) -> None:
    """Build validators before the fork, so that each replica has them."""
    for name in classes:
        definition = definition_of(names.load_class(name))
        for endpoint in definition.endpoints.values():
            schema.schema_of(endpoint, definition.cls)


def _single_thread() -> None:
    """A child of a process that ran a parallel region hangs in its first own one; with one thread there is no region."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def user_files() -> tuple[str, ...]:
    """Return the files of the user's own modules that are loaded."""
    files = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    return tuple(sorted(file for file in files if file.endswith(".py") and is_users_file(file)))


if __name__ == "__main__":
    main()
