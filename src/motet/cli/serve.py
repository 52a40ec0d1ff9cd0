"""`motet serve`."""

from __future__ import annotations

import click
import uvloop

from motet.amounts import checked_amounts
from motet.cli.loading import with_sources
from motet.cli.program import with_traceback_option
from motet.cli.serve_inline import serve_inline
from motet.cli.serve_local import serve_local
from motet.cli.serving import Screen, ServeOptions
from motet.options import HttpOptions, checked_origin
from motet.secret_sources import sources_of


def _origins(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no origin as click refuses values: by the name of the option."""
    try:
        return tuple(checked_origin(each) for each in given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _amounts(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """Read `name=amount,...`, given once or several times."""
    amounts: dict[str, float | str] = {}
    for each in ",".join(given).split(",") if given else ():
        name, equals, amount = each.partition("=")
        if not equals:
            message = f"{each!r} is no amount of a resource; write name=amount, such as gpus=1"
            raise click.BadParameter(message)
        amounts[name.strip()] = amount.strip()
    try:
        return checked_amounts(amounts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("target")
@click.option(
    "--engine",
    type=click.Choice(["local", "inline"]),
    default="local",
    show_default=True,
    help="local: supervised processes. inline: everything in this process, where a breakpoint() works.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others than loopback need an API key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on; 0 for any free one.")
@click.option("--route", default="/", show_default=True, help="Path under which the app's endpoints are.")
@click.option("--name", default="default", show_default=True, help="Name of the app.")
@click.option("--reload", is_flag=True, help="On a change of the code restart the services that it concerns.")
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    metavar="KEY",
    envvar="MOTET_API_KEY",
    show_envvar=True,
    help="Key that clients must send; may be repeated.",
)
@click.option("--cors", multiple=True, metavar="ORIGIN", callback=_origins, help="Origin whose pages may call, or '*'; may be repeated.")
@click.option("--gzip", is_flag=True, help="Compress answers over 1 KB for clients that accept it.")
@with_sources
@click.option("--gateways", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the port.")
@click.option(
    "--resources",
    multiple=True,
    metavar="NAME=AMOUNT,...",
    callback=_amounts,
    help="What the machine is taken to have, in the place of what is found: gpus=1,cpus=4,memory=8GiB, or names of your own.",
)
@with_traceback_option
def serve(
    *,
    target: str,
    engine: str,
    host: str,
    port: int,
    route: str,
    name: str,
    reload: bool,
    api_keys: tuple[str, ...],
    cors: tuple[str, ...],
    gzip: bool,
    gateways: int,
    resources: dict[str, float],
    env_files: tuple[str, ...],
    secrets: tuple[str, ...],
) -> int:
    """Serve an app over HTTP until Ctrl-C or SIGTERM.

    TARGET is file.py:name or package.module:name, where name stands for a bound service (app = MyService.bind(...)).
    Stopping lets running calls finish; a second Ctrl-C ends everything at once.

    \b
    Examples:
      motet serve app.py:app
      motet serve app.py:app --port 0                     on any free port
      motet serve app.py:app --reload                     while you work on it
      motet serve app.py:app --engine inline              to step through it in a debugger
      motet serve app.py:app --host 0.0.0.0 --api-key "$SECRET"
      motet serve app.py:app --secrets /run/secrets       a file for each secret that a service names
      motet serve app.py:app --cors https://app.example   for pages of that origin
      motet serve app.py:app --resources gpus=1           with a logical GPU, where there is no card
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    http = HttpOptions(cors=cors, gzip=gzip, gateways=gateways)
    options = ServeOptions(
        target=target,
        host=host,
        port=port,
        route=route,
        name=name,
        reload=reload,
        api_keys=api_keys,
        http=http,
        resources=resources,
        sources=sources_of(env_files, secrets),
    )
    serve_on = serve_inline if engine == "inline" else serve_local
    code: int = uvloop.run(serve_on(options, Screen(options)))
    return code
