"""`motet env`: the environments that are kept, and those of an app; also for `motet check --environments`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import click
import msgspec

from motet.caching import cache_folder, size_text
from motet.cli.errors import explain, relative
from motet.cli.loading import load_graph
from motet.cli.processes import duration, table
from motet.cli.program import Commands, Program, with_traceback_option
from motet.environments import Packages, Stored, build, packages_of, prune, resolve, stored
from motet.errors import DefinitionError, Fault
from motet.graph import Graph

T = TypeVar("T")

HEADINGS = ("KEY", "PYTHON", "SIZE", "USED", "STATE", "PACKAGES")
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
UNUSED_FOR = "30d"
MAX_PACKAGES = 60  # characters

env = Program(
    name="env",
    help="""List, build and throw away the environments of services.

    They are kept in the cache folder, one for each distinct set of packages: $MOTET_CACHE_DIR/environments, else
    ~/.cache/motet/environments.""",
    commands=Commands({name: f"{__name__}:{name}_" for name in ("list", "build", "prune")}),
)


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON: a list of environments.")
@with_traceback_option
def list_(*, as_json: bool) -> None:
    """List the environments that are kept, the last used first, with their sizes.

    STATE is "in use" while a server uses it or somebody builds it, and "unfinished" where a build was interrupted.

    \b
    Examples:
      motet env list
      motet env list --json | jq 'map(.size) | add'
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    found = stored()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_fields(environment) for environment in found])).decode())
    elif found:
        for line in table([HEADINGS, *map(_row, found)]):
            click.echo(line)
        click.echo(f"{_count(found)}, {size_text(sum(each.size for each in found))}, in {cache_folder('environments')}")
    else:
        click.echo("No environment is kept. Build those of an app: motet env build app.py:app")


@click.command("build")
@click.argument("target")
@with_traceback_option
def build_(*, target: str) -> int:
    """Build the environments of an app, so that it starts at once later.

    TARGET is file.py:name or package.module:name. Those that are there already are kept as they are; nothing is started.

    \b
    Examples:
      motet env build app.py:app
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    wanted = wanted_packages(load_graph(target, name="default", route="/"))

    async def one(packages: Packages, services: Sequence[str]) -> str:
        built = await build(packages, services=services, report=_say)
        return f"{', '.join(services)}: {built.folder}"

    return _of_all(wanted, one)


@click.command("prune")
@click.option("--older-than", default=UNUSED_FOR, show_default=True, metavar="TIME", help="How long unused: 12h, 30d.")
@click.option("--all", "everything", is_flag=True, help="All that no server uses now.")
@with_traceback_option
def prune_(*, older_than: str, everything: bool) -> None:
    """Throw away environments that weren't used for a while, and those that aren't finished.

    One that a server uses or that is being built stays, whatever is asked for.

    \b
    Examples:
      motet env prune
      motet env prune --older-than 7d
      motet env prune --all
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    gone = prune(unused_for=0 if everything else seconds(older_than))
    for environment in gone:
        click.echo(f"{environment.key}  {size_text(environment.size)}  {_packages(environment)}")
    using = [environment for environment in stored() if environment.in_use]
    click.echo(f"{_count(gone)} thrown away, {size_text(sum(each.size for each in gone))}" + (f"; {_count(using)} in use" if using else ""))


def resolve_all(wanted: dict[Packages, list[str]]) -> int:
    """Find out what environments would have, and say so; returns the exit code.

    Args:
        wanted: names of services by what they want.
    """

    async def one(packages: Packages, services: Sequence[str]) -> str:
        found = await resolve(packages, services=services, report=_say)
        above = "beside the server's packages" if packages.layered else "alone"
        return f"{', '.join(services)}: {', '.join(found) or 'nothing'}, {above}"

    return _of_all(wanted, one)


def wanted_packages(graph: Graph) -> dict[Packages, list[str]]:
    """Return the names of the nodes that want packages, by what they want.

    Raises:
        DefinitionError: a file is missing, or something in one is no requirement; lists the faults of all nodes.
    """
    wanted: dict[Packages, list[str]] = {}
    faults: list[Fault] = []
    for node in graph.nodes.values():
        try:
            packages = packages_of(node.config.environment, node.definition.folder, subject=node.name, place=node.place)
        except DefinitionError as error:
            faults += error.faults
            continue
        if packages is not None:
            wanted.setdefault(packages, []).append(node.name)
    if faults:
        raise DefinitionError(faults)
    return wanted


def _of_all(wanted: dict[Packages, list[str]], one: Callable[[Packages, Sequence[str]], Awaitable[str]]) -> int:
    """Do something for all environments at once, say what came of each, and return the exit code."""

    async def every() -> Sequence[str | BaseException]:
        return await asyncio.gather(*(one(packages, services) for packages, services in wanted.items()), return_exceptions=True)

    if not wanted:
        click.echo("No service has packages of its own.")
        return 0
    results = asyncio.run(every())
    for result in results:
        if isinstance(result, BaseException):
            click.echo(explain(result), err=True)
        else:
            click.echo(result)
    return int(any(isinstance(result, BaseException) for result in results))


def _say(line: str) -> None:
    click.echo(f"  {relative(line)}", err=True)


def seconds(text: str) -> float:
    """Return a time such as `12h` or `30d` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms])", text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no time; write 12h or 30d", param_hint="--older-than")
    return float(found.group(1)) * SECONDS[found.group(2)]


def _fields(environment: Stored) -> dict[str, object]:
    record = environment.record
    return {
        "key": environment.key,
        "folder": str(environment.folder),
        "state": _state(environment),
        "size": environment.size,  # bytes
        "used": round(environment.used, 1),  # seconds since 1970
        "python": record.python if record is not None else None,
        "layered": record.layered if record is not None else None,
        "installer": record.installer if record is not None else None,
        "seconds": record.seconds if record is not None else None,
        "created": round(record.created, 1) if record is not None else None,
        "requirements": record.requirements if record is not None else None,
    }


def _state(environment: Stored) -> str:
    if environment.in_use:
        return "in use" if environment.record is not None else "being built"
    return "ready" if environment.record is not None else "unfinished"


def _row(environment: Stored) -> tuple[str, ...]:
    python = environment.record.python if environment.record is not None else "-"
    used = f"{duration(time.time() - environment.used)} ago"
    return environment.key, python, size_text(environment.size), used, _state(environment), _packages(environment)


def _packages(environment: Stored) -> str:
    record = environment.record
    if record is None:
        return "-"
    text = ", ".join(record.requirements) or "none"
    return (text if len(text) <= MAX_PACKAGES else text[:MAX_PACKAGES] + "...") + ("" if record.layered else ", isolated")


def _count(found: Sequence[Stored]) -> str:
    return f"{len(found)} environment{'s' if len(found) != 1 else ''}"
