"""`motet client`: write a client for those who call an app and don't install Motet."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx

from motet.cli.call import CONNECT_WAIT, explained, failure
from motet.cli.errors import Complaint
from motet.cli.loading import load_graph
from motet.cli.program import with_traceback_option
from motet.clients.python import write_python
from motet.clients.typescript import write_typescript
from motet.openapi import openapi

WRITERS = {".py": write_python, ".ts": write_typescript}
NEEDS = {".py": "Python 3.11, httpx and pydantic", ".ts": "a browser, or Node 18 or newer"}


@click.command()
@click.argument("target")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write: client.py or client.ts.")
@click.option("--api-key", metavar="KEY", envvar="MOTET_API_KEY", show_envvar=True, help="Key that the server asks for.")
@with_traceback_option
def client(*, target: str, out: Path, api_key: str | None) -> None:
    """Write a typed client of an app, in Python or TypeScript.

    TARGET is file.py:name or package.module:name, whose file is imported, or the URL of a running server. The client is one
    file that doesn't need Motet.

    \b
    Examples:
      motet client app.py:app --out client.py
      motet client http://127.0.0.1:8000 --out client.ts
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    if out.suffix not in WRITERS:
        raise Complaint("the language isn't known", found=out.name, instead=f"a file that ends with {' or '.join(WRITERS)}", code=2)
    if target.startswith(("http://", "https://")):
        document, route = _fetched(target, api_key), urlsplit(target).path or "/"
    else:
        document, route = openapi(load_graph(target, name="default", route="/")), "/"
    text, skipped = WRITERS[out.suffix](document, route=route, source=target)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Complaint("the client can't be written", where=str(out), found=error.strerror or str(error)) from None
    click.echo(f"wrote {out}, which needs {NEEDS[out.suffix]}")
    for operation in skipped:
        click.echo(f"  left out: {operation}, whose body or answer is no JSON, bytes or stream")


def _fetched(url: str, api_key: str | None) -> dict[str, Any]:
    """Return the OpenAPI document of a server."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}/openapi.json"
    headers = {} if not api_key else {"authorization": f"Bearer {api_key.split()[0]}"}
    with explained(place), httpx.Client(timeout=CONNECT_WAIT, trust_env=False) as http:
        response = http.get(place, headers=headers)
    if response.is_error:
        raise failure(response.status_code, response.content)
    try:
        document: dict[str, Any] = response.json()
    except ValueError:
        document = {}
    if "paths" not in document or "info" not in document:
        raise Complaint("this is no server of Motet", where=place, found=response.text[:80])
    return document
