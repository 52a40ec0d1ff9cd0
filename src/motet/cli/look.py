"""`motet check` and `motet graph`: look at an app without running it. The target is loaded in this process."""

from __future__ import annotations

import click

from motet import graph_views
from motet.absent import refuse_users
from motet.cli.environments import resolve_all, wanted_packages
from motet.cli.loading import load_graph
from motet.cli.program import with_traceback_option
from motet.engines.local.plan import plan_graph

FORMATS = {"tree": graph_views.tree, "mermaid": graph_views.mermaid, "json": graph_views.as_json}

route_option = click.option("--route", default="/", show_default=True, help="Path under which the app's endpoints would be.")
name_option = click.option("--name", default="default", show_default=True, help="Name of the app.")


@click.command()
@click.argument("target")
@click.option("--environments", is_flag=True, help="Also find out what the services' environments would have, and install nothing.")
@route_option
@name_option
@with_traceback_option
def check(*, target: str, environments: bool, route: str, name: str) -> int:
    """Find all faults of an app, and start nothing.

    TARGET is file.py:name or package.module:name. Its file is imported, so what stands at its top level runs; no service
    is constructed, and no hardware is needed. The exit code is 0 if all is well, else 1.

    \b
    Examples:
      motet check app.py:app
      motet check app.py:app --environments
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    graph = load_graph(target, name=name, route=route)
    refuse_users({node.name: node.definition.cls for node in graph.nodes.values() if not node.config.environment.has_packages})
    plan = plan_graph(graph)  # what replicas are started from: an argument may be of a type that can't travel
    packages = wanted_packages(graph)  # requirements files are read
    services, endpoints = len(graph.nodes), sum(len(node.definition.endpoints) for node in graph.nodes.values())
    if environments and (code := resolve_all(packages)) != 0:
        return code
    click.echo(f"ok: {_count(services, 'service')}, {_count(endpoints, 'endpoint')}")
    for line in graph_views.routes(graph):
        click.echo(f"  {line}")
    if plan.secret_names:
        users = {name: [wanted.service for wanted in plan.wanted_secrets if name in wanted.names] for name in plan.secret_names}
        click.echo("Secrets: " + ", ".join(f"{name} ({', '.join(services)})" for name, services in users.items()))
    click.echo(f"Serve it: motet serve {target}")
    return 0


@click.command()
@click.argument("target")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="tree", show_default=True, help="How to show it.")
@route_option
@name_option
@with_traceback_option
def graph(*, target: str, form: str, route: str, name: str) -> None:
    """Show the services of an app and who calls whom.

    TARGET is file.py:name or package.module:name. Nothing is started.

    \b
    Examples:
      motet graph app.py:app
      motet graph app.py:app --format mermaid > app.mmd
      motet graph app.py:app --format json | jq '.nodes[].name'
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    click.echo(FORMATS[form](load_graph(target, name=name, route=route)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
