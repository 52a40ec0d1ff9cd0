"""`motet call`: call an endpoint of a server over HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import httpx

from motet.cli.errors import Complaint
from motet.cli.program import with_traceback_option
from motet.cli.servers import Server, living_servers

ACCEPT = "text/event-stream, application/json, */*"  # events and not lines: an item can't be mistaken for an error
JSON = "application/json"
BYTES = "application/octet-stream"
CONNECT_WAIT = 5.0  # s


@click.command()
@click.argument("words", nargs=-1, metavar="[URL] ENDPOINT [JSON]")
@click.option("--url", help="Base URL of the server; default: the only one of yours that runs.")
@click.option("--api-key", metavar="KEY", envvar="MOTET_API_KEY", show_envvar=True, help="Key that the server asks for.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the answer; default: no limit of its own."
)
@with_traceback_option
def call(*, words: tuple[str, ...], url: str | None, api_key: str | None, timeout: float | None) -> None:
    """Call an endpoint of a running server, and print its answer.

    JSON is the body: text, @FILE for the content of a file, or - for standard input; nothing for an endpoint without
    parameters. A file that is no JSON is sent as bytes. Items of a stream are printed as they come, one in each line.
    The exit code is 1 for an error.

    \b
    Examples:
      motet call ask '{"text": "How do I stop a server?"}'
      motet call ask @question.json
      motet call size @photo.jpg
      echo '{"to": 3}' | motet call count -
      motet call http://127.0.0.1:8000 ask '{"text": "why?"}' --api-key "$SECRET"
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    base, endpoint, text = _arguments(words, url)
    body, kind = _body(text)
    target = f"{base or _only_url(endpoint)}/{endpoint.lstrip('/')}"
    headers = {"accept": ACCEPT, **({"content-type": kind} if body else {})}
    if api_key:
        headers["authorization"] = f"Bearer {api_key.split()[0]}"  # the variable may hold all keys of a server
    limits = httpx.Timeout(timeout, connect=CONNECT_WAIT)
    with explained(target), httpx.Client(timeout=limits, trust_env=False) as client:  # noqa: SIM117  # the response needs the client
        with client.stream("POST", target, content=body, headers=headers) as response:
            if response.is_error:
                raise failure(response.status_code, response.read())
            _show(response)


def _arguments(words: tuple[str, ...], url: str | None) -> tuple[str | None, str, str | None]:
    """Return base URL, endpoint and body of what was written."""
    rest = list(words)
    if rest and rest[0].startswith(("http://", "https://")):
        if url is not None:
            raise Complaint("the URL is given twice", found=f"{rest[0]} and {url}", code=2)
        url = rest.pop(0)
    if not rest:
        raise Complaint("which endpoint?", instead='motet call ENDPOINT [JSON], such as: motet call ask \'{"text": "why?"}\'', code=2)
    endpoint, *bodies = rest
    if len(bodies) > 1:
        raise Complaint("there is more than one body", found=" ".join(bodies), instead="JSON between single quotes", code=2)
    return None if url is None else url.rstrip("/"), endpoint, bodies[0] if bodies else None


def _body(text: str | None) -> tuple[bytes, str]:
    """Return the body that an argument stands for, and its media type.

    Raises:
        Complaint: it can't be read, or is meant to be JSON and isn't.
    """
    if text is None:
        return b"", JSON
    from_file = text == "-" or text.startswith("@")
    body = _content(text) if from_file else text.encode()
    try:
        json.loads(body)
    except ValueError as error:
        if from_file and not text.endswith(".json"):
            return body, BYTES
        shown = body[:80].decode(errors="replace")
        raise Complaint("the body is no JSON", where=str(error), found=shown, instead='such as \'{"text": "why?"}\'') from None
    return body, JSON


def _content(source: str) -> bytes:
    """Return what `-` (standard input) or `@FILE` stands for."""
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source[1:]).read_bytes()
    except OSError as error:
        raise Complaint("the body can't be read", where=source[1:], found=error.strerror or str(error)) from None


def _only_url(endpoint: str) -> str:
    """Return the base URL of the only server that runs, with the route of its only app unless a path was given.

    Raises:
        Complaint: there is none, or more than one.
    """
    found = [server for server in asyncio.run(living_servers()) if server.card.url is not None]
    if not found:
        raise Complaint("no server of yours runs", instead="motet serve app.py:app, or --url http://host:port")
    if len(found) > 1:
        listed = "\n           ".join(f"{server.card.url}  {server.card.target}" for server in found)
        raise Complaint("more than one server of yours runs", found=listed, instead=f"--url {found[0].card.url}")
    return f"{found[0].card.url}{'' if endpoint.startswith('/') else _route(found[0])}"


def _route(server: Server) -> str:
    apps = server.status.apps if server.status is not None else ()
    return apps[0].route.rstrip("/") if len(apps) == 1 else ""


@contextmanager
def explained(url: str) -> Generator[None]:
    """Turn what may go wrong on the way into errors that one can act on."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Complaint("the URL can't be used", found=url, instead=str(error)) from None
    except httpx.ConnectError as error:
        raise Complaint("the server can't be reached", where=url, found=str(error), instead="motet ps shows what runs") from None
    except httpx.TimeoutException:
        raise Complaint("the server took too long to answer", where=url, instead="a longer --timeout") from None
    except httpx.HTTPError as error:
        raise Complaint("the answer broke off", where=url, found=f"{type(error).__name__}: {error}") from None


def failure(status: int | None, body: bytes) -> Complaint:
    """Return the error that a server told of, by a status or within a stream."""
    try:
        error = json.loads(body)["error"]
        message = f"{error['type']}: {error['message']}" + (f" (HTTP {status})" if status is not None else "")
    except (ValueError, KeyError, TypeError):
        return Complaint(f"the server answered with HTTP status {status}", found=body[:200].decode(errors="replace") or None)
    problems = [f"{p.get('at')}: {p.get('problem')} (found {p.get('found')})" for p in error.get("problems", ())]
    found = "\n           ".join(problems) or error.get("found")
    instead = "--api-key KEY, or MOTET_API_KEY in the environment" if status == 401 else error.get("instead")  # noqa: PLR2004  # HTTP
    return Complaint(message, where=error.get("where"), found=found, instead=instead)


def _show(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "text/event-stream":
        _show_events(response.iter_lines())
    elif kind == JSON:
        click.echo(_pretty(response.read()))
    elif kind.startswith("text/"):
        for text in response.iter_text():
            click.echo(text, nl=False)
        click.echo()
    else:
        for data in response.iter_bytes():
            click.echo(data, nl=False)


def _show_events(lines: Iterator[str]) -> None:
    """Print the items of a stream; the last event may tell of an error."""
    event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data" and event == "error":
            raise failure(None, value.encode())
        elif name == "data" and event != "end":
            click.echo(value)
        elif not line:
            event = ""


def _pretty(body: bytes) -> str:
    """Return JSON indented for people, unchanged for programs."""
    text = body.decode(errors="replace")
    if not sys.stdout.isatty():
        return text
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
