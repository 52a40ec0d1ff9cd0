"""Everything over HTTP that is no endpoint: probes, the description of the API, and its documentation."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from http import HTTPStatus
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from motet.errors import MethodNotAllowed, MotetError, NotFound, http_status
from motet.gateway import answers
from motet.gateway.auth import DOCS_ASSETS
from motet.gateway.state import GatewayState
from motet.graph_views import route_text
from motet.openapi import merged

MAX_PATHS = 20  # that an error lists
PAGES = ("GET /docs", "GET /openapi.json", "GET /healthz", "GET /readyz", "GET /startupz")

DOCS = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger_style.css">
</head>
<body>
<form id="key" hidden style="font: 1rem sans-serif; max-width: 30rem; margin: 4rem auto">
<p>This server asks for an API key. It stays in this page and is forgotten when you leave it.</p>
<input type="password" aria-label="API key" autocomplete="off" required>
<button>Show the API</button>
<p id="wrong" role="alert" hidden>The server doesn't know this key.</p>
</form>
<div id="swagger-ui"></div>
<script src="docs/swagger_bundle.js"></script>
<script>
const form = document.getElementById("key");
async function show(key) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(key));
  const answer = await fetch("openapi.json", key ? {headers: {"X-API-Key": bytes}} : {});
  form.hidden = answer.status !== 401;
  document.getElementById("wrong").hidden = !key;
  if (!form.hidden) return;
  const ui = SwaggerUIBundle({
    spec: await answer.json(),
    dom_id: "#swagger-ui",
    presets: [SwaggerUIBundle.presets.apis],
    validatorUrl: null,
    onComplete: () => key && ui.preauthorizeApiKey("header", bytes),
  });
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(form.querySelector("input").value);
});
show("");
</script>
</body>
</html>
"""


class Site:
    """Answers what is asked of the gateway itself."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state
        self.app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/startupz", self._startupz),
                Route("/openapi.json", self._openapi),
                Route("/docs", self._docs),
                Route("/docs/{name}", self._asset),
            ],
            exception_handlers={404: self._not_found, 405: self._wrong_method, Exception: self._failed},
        )

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        if missing := self._state.unready():
            return JSONResponse({"status": "not ready", "missing": missing}, status_code=503, headers={"retry-after": "1"})
        return JSONResponse({"status": "ready"})

    async def _startupz(self, _: Request) -> Response:
        if self._state.started():
            return JSONResponse({"status": "started"})
        return JSONResponse({"status": "starting", "missing": self._state.unready()}, status_code=503, headers={"retry-after": "1"})

    async def _openapi(self, _: Request) -> Response:
        documents = [msgspec.json.decode(app.openapi) for app in self._state.apps]
        whole = merged(documents, with_keys=bool(self._state.keys))
        return Response(msgspec.json.encode(whole), media_type="application/json")

    async def _docs(self, _: Request) -> Response:
        return HTMLResponse(DOCS)

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in DOCS_ASSETS:
            raise HTTPException(404)
        content, tag = read_asset(name)
        headers = {"cache-control": "public, max-age=86400", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=DOCS_ASSETS[name], headers=headers)

    async def _not_found(self, request: Request, _: Exception) -> Response:
        wanted = request.url.path.rstrip("/") or "/"
        if wanted != request.url.path and wanted.encode() in self._state.routes:
            # No redirect: clients would send the body twice, or leave out the key; most follow none anyway.
            raised = NotFound("the path ends with a slash too many", found=f"{request.method} {request.url.path}", instead=f"POST {wanted}")
            return _error(request, raised)
        known = [route_text(route.surface, route.methods, route.path) for route in self._state.routes.values()] + list(PAGES)
        listed = ", ".join(known[:MAX_PATHS]) + (f" and {len(known) - MAX_PATHS} more" if len(known) > MAX_PATHS else "")
        return _error(request, NotFound("there is nothing at this path", found=f"{request.method} {request.url.path}", instead=listed))

    async def _wrong_method(self, request: Request, error: Exception) -> Response:
        given = (error.headers or {}).get("Allow", "GET") if isinstance(error, HTTPException) else "GET"
        allowed = ", ".join([*sorted(given.split(", ")), "OPTIONS"])
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": allowed})
        where = f"{request.method} {request.url.path}"
        response = _error(request, MethodNotAllowed("this path doesn't take this method", where=where, instead=allowed))
        response.headers["allow"] = allowed
        return response

    async def _failed(self, request: Request, _: Exception) -> Response:
        return _error(request, MotetError("the gateway failed at this", where=f"{request.method} {request.url.path}"))


def _error(request: Request, error: MotetError) -> Response:
    content = answers.error_json(error.fields(), request.state.request_id)
    return Response(content, status_code=http_status(error), media_type="application/json")


@functools.cache
def read_asset(name: str) -> tuple[bytes, str]:
    """Return a file of Swagger UI and its entity tag. The package that has it is only looked into: importing it is slow."""
    spec = importlib.util.find_spec("offapi")
    assert spec is not None  # a dependency of this package
    folder = (spec.submodule_search_locations or [""])[0]
    content = (Path(folder) / name).read_bytes()
    return content, f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'  # weak: it may be compressed
