"""`motet assets`: fetch those of an app ahead of its start, and look after what was fetched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import click
import msgspec

from motet.assets import store
from motet.assets.store import Kept
from motet.caching import cache_folder, size_text
from motet.cli.environments import seconds
from motet.cli.errors import relative
from motet.cli.loading import load_graph, with_sources
from motet.cli.processes import duration, table
from motet.cli.program import Commands, Program, with_traceback_option
from motet.engines.assets import TOKEN, AssetKeeper, needs_of
from motet.secret_sources import Wanted, find, sources_of
from motet.sources import shown

HEADINGS = ("SIZE", "USED", "CHECKSUM", "URL")
UNUSED_FOR = "30d"

assets = Program(
    name="assets",
    help="""Fetch the models and data of an app, and list or throw away what was fetched from URLs.

    Files from URLs are kept in the cache folder: $MOTET_CACHE_DIR/assets, else ~/.cache/motet/assets. Models of the hub are in
    the hub's own cache, which `hf cache` looks after.""",
    commands=Commands({name: f"{__name__}:{name}_" for name in ("fetch", "list", "prune")}),
)


@click.command("fetch")
@click.argument("target")
@with_sources
@with_traceback_option
def fetch_(*, target: str, env_files: tuple[str, ...], secrets: tuple[str, ...]) -> None:
    """Fetch the assets of an app, so that it starts at once later; nothing is started.

    TARGET is file.py:name or package.module:name. What is there already stays as it is, and what was interrupted goes on.
    Of the secrets that services name only the token of the hub, HF_TOKEN, is looked for.

    \b
    Examples:
      motet assets fetch app.py:app
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    graph = load_graph(target, name="default", route="/")
    nodes = graph.nodes.values()
    wanted = [Wanted(service=node.name, place=node.place, names=(TOKEN,)) for node in nodes if TOKEN in node.config.assets.secrets]
    given = find(sources_of(env_files, secrets), wanted)
    found = asyncio.run(AssetKeeper(_say).have([needs_of(node, given) for node in nodes]))
    for service, paths in found.items():
        for text, path in paths.items():
            click.echo(f"{service}: {relative(path)}" if text == path else f"{service}: {shown(text)} is {relative(path)}")
    if not found:
        click.echo("No service declares models or data.")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON: a list of files.")
@with_traceback_option
def list_(*, as_json: bool) -> None:
    """List the files that were fetched from URLs, the last used first, with their sizes.

    CHECKSUM is the beginning of the SHA-256 digest, with a star if it was declared: such a file isn't asked for again.

    \b
    Examples:
      motet assets list
      motet assets list --json | jq 'map(.size) | add'
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    found = sorted((kept for kept in store.all_kept() if kept.size), key=lambda kept: -kept.used)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_fields(kept) for kept in found])).decode())
    elif found:
        for line in table([HEADINGS, *map(_row, found)]):
            click.echo(line)
        click.echo(f"{_count(found)}, {size_text(sum(kept.size for kept in found))}, in {cache_folder('assets')}")
    else:
        click.echo("No file is kept. Fetch those of an app: motet assets fetch app.py:app")


@click.command("prune")
@click.option("--older-than", default=UNUSED_FOR, show_default=True, metavar="TIME", help="How long unused: 12h, 30d.")
@click.option("--all", "everything", is_flag=True, help="All that no server uses and nobody fetches just now.")
@with_traceback_option
def prune_(*, older_than: str, everything: bool) -> None:
    """Throw away files that no start has used for a while, older versions of the others, and what was interrupted.

    What a server uses or somebody fetches just now stays, whatever is asked for.

    \b
    Examples:
      motet assets prune
      motet assets prune --older-than 7d
      motet assets prune --all
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    oldest = time.time() - (0 if everything else seconds(older_than))
    free = sum(store.prune(kept, wholly=kept.used <= oldest) for kept in list(store.all_kept()))
    using = [kept for kept in store.all_kept() if kept.in_use]
    click.echo(f"{size_text(free)} thrown away" + (f"; {_count(using)} in use" if using else ""))


def _say(line: str) -> None:
    click.echo(f"  {relative(line)}", err=True)


def _row(kept: Kept) -> tuple[str, ...]:
    entry = kept.entry
    used = f"{duration(time.time() - kept.used)} ago"
    checksum = "-" if entry is None else entry.sha256[:12] + ("*" if entry.pinned else "")
    return size_text(kept.size), used, checksum, "(interrupted)" if entry is None else entry.url


def _fields(kept: Kept) -> dict[str, object]:
    entry = kept.entry
    return {
        "url": entry.url if entry is not None else None,
        "file": str(kept.folder / entry.file) if entry is not None else None,
        "size": kept.size,  # bytes, older versions and interrupted ones included
        "sha256": entry.sha256 if entry is not None else None,
        "pinned": entry.pinned if entry is not None else None,
        "used": round(kept.used, 1),  # seconds since 1970
        "in_use": kept.in_use,
        "fetched": round(entry.fetched, 1) if entry is not None else None,
    }


def _count(found: Sequence[Kept]) -> str:
    return f"{len(found)} file{'s' if len(found) != 1 else ''}"
