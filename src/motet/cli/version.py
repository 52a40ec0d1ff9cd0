"""`motet version`."""

import platform

import click

from motet._version import __version__


@click.command()
def version() -> None:
    """Show the versions of Motet and Python.

    \b
    Example:
      motet version
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    click.echo(f"motet {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
