"""`motet ps`: what runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import click
import msgspec

from motet.cli.program import with_traceback_option
from motet.cli.servers import Server, living_servers
from motet.engines.interface import AppStatus, NodeStatus, ReplicaStatus, ResourceStatus
from motet.engines.local.ledger import memory_text

HEADINGS = ("SERVICE", "REPLICA", "STATE", "PID", "CALLS", "RESTARTS", "RESOURCES")
MINUTE, HOUR, DAY = 60, 3600, 86400  # s


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON: a list of servers.")
@with_traceback_option
def ps(*, as_json: bool) -> None:
    """List your running servers, with their apps, services and replicas.

    CALLS counts the calls that a replica runs or has waiting, RESTARTS how often one of its service had to be started again,
    RESOURCES is what is reserved for it.

    \b
    Examples:
      motet ps
      motet ps --json | jq '.[].url'
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    found = asyncio.run(living_servers())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_fields(server) for server in found])).decode())
    elif found:
        click.echo("\n\n".join("\n".join(_lines(server)) for server in found))
    else:
        click.echo("No server runs. Start one: motet serve app.py:app")


def _fields(server: Server) -> dict[str, object]:
    card, status = server.card, server.status
    return {
        "target": card.target,
        "url": card.url,
        "pid": card.pid,
        "uptime": round(time.time() - card.started, 1),  # s
        "engine": status.engine if status is not None else None,
        "gateways": status.gateways if status is not None else None,
        "resources": status.resources if status is not None else None,
        "apps": status.apps if status is not None else None,
    }


def _lines(server: Server) -> Iterator[str]:
    card, status = server.card, server.status
    facts = [card.url or "no HTTP", f"pid {card.pid}", f"up {duration(time.time() - card.started)}"]
    if status is not None:
        facts.append(status.engine)
    yield "  ".join([click.style(card.target, bold=True), *facts])
    if status is None:
        yield "  it doesn't answer: stopped, or stuck"
        return
    if status.gateways:
        yield f"  gateway  pid {', '.join(map(str, status.gateways))}"
    if status.resources:
        yield f"  reserved  {', '.join(_reserved(each) for each in status.resources if each.total)}"
    for app in status.apps:
        yield f"  app {app.name} at {app.route}  {app.state}"
        yield from _table(app)
        yield from (f"    {node.name} runs in the environment {node.environment}" for node in app.nodes if node.environment)
        yield from (f"    {node.name}: {text}" for node in app.nodes if (text := node.problem or node.last_death))


def _reserved(status: ResourceStatus) -> str:
    amounts = [f"{memory_text(each)}" if status.name == "memory" else f"{each:g}" for each in (status.reserved, status.total)]
    return f"{status.name} {' of '.join(amounts)}" + (f" ({' '.join(status.ids)})" if status.ids else "")


def _table(app: AppStatus) -> Iterator[str]:
    for line in table([HEADINGS, *(row for node in app.nodes for row in _rows(node))]):
        yield f"    {line}"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _rows(node: NodeStatus) -> Sequence[tuple[str, ...]]:
    if not node.replicas:
        return [(node.name, "-", node.state, "-", "-", "-", "-")]
    return [(node.name, r.identity, r.state, str(r.pid), str(r.busy), str(r.restarts), placement_text(r)) for r in node.replicas]


def placement_text(replica: ReplicaStatus) -> str:
    """Return what a replica was given of the machine, such as `cpus 2, gpus 0.5 (0), memory 310 MiB of 2 GiB`."""
    placed = replica.placement
    parts = [f"cpus {placed.cpus:g}" + (f" (cores {' '.join(map(str, placed.cores))})" if placed.cores else "")] if placed.cpus else []
    if placed.gpus:
        parts.append(f"gpus {placed.gpus:g} ({' '.join(placed.cards)})")
    if placed.memory:
        parts.append("memory " + (f"{memory_text(replica.memory)} of " if replica.memory else "") + memory_text(placed.memory))
    return ", ".join([*parts, *(f"{name} {amount:g}" for name, amount in placed.custom.items())]) or "-"


def duration(seconds: float) -> str:
    """Return a time in its two largest units, such as `3 min 5 s`."""
    whole = max(0, int(seconds))
    for size, name, smaller, smaller_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {smaller_name}"
    return f"{whole} s"
