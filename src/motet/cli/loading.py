"""Loading a target for a command that looks at it, and options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from motet import check as checking
from motet.graph import Graph, compile_graph
from motet.secret_sources import ENV_FILE, SECRETS
from motet.targets import find_node

F = TypeVar("F", bound=Callable[..., Any])


def load_graph(target: str, *, name: str, route: str) -> Graph:
    """Load a target in this process and compile it; the faults of its classes and of the graph come together.

    Raises:
        TargetError: the target doesn't exist or can't be imported.
        DefinitionError: it is defined wrongly.
    """
    with checking.collecting():
        return compile_graph(find_node(target), name=name, route=route)


def with_sources(command: F) -> F:
    """Add `--env-file` and `--secrets` to a command, which takes `env_files` and `secrets`."""
    command = click.option(
        "--secrets",
        multiple=True,
        type=click.Path(exists=True),
        envvar=SECRETS,
        show_envvar=True,
        help="Folder with a file for each secret, or file of NAME=value lines; may be repeated.",
    )(command)
    return click.option(
        "--env-file",
        "env_files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        envvar=ENV_FILE,
        show_envvar=True,
        help="File of NAME=value lines for all services; may be repeated.",
    )(command)
