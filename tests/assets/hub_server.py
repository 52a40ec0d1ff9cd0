"""A model hub for tests: it answers what huggingface_hub asks to fetch a snapshot."""

import hashlib
import http.server
import json
import re
import threading
from dataclasses import dataclass, field

from motet.testing import PATIENCE

_API = re.compile(r"/api/models/(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<what>revision|tree)/(?P<revision>[\w.%-]+))?(?:\?.*)?").fullmatch
_FILE = re.compile(r"/(?P<name>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[\w.%-]+)/(?P<file>[^?]+)(?:\?.*)?").fullmatch


@dataclass
class Model:
    """A model; `token` is who may have it, `hold` a file that waits for `release` in the middle."""

    files: dict
    branches: tuple = ("main",)
    token: str | None = None
    gated: bool = False
    hold: str | None = None
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def commit(self):
        return hashlib.sha1(repr(sorted(self.files.items())).encode(), usedforsecurity=False).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        served = self.server.served
        served.requests.append((self.command, self.path, dict(self.headers)))
        if served.status != 200:
            self._answer(served.status, b"{}")
        elif (found := _API(self.path)) is not None:
            self._api(**found.groupdict())
        elif (found := _FILE(self.path)) is not None:
            self._file(**found.groupdict())
        else:
            self._answer(404, b"{}")

    def _model(self, name, revision):
        """Return a model, or None once the request is refused."""
        model = self.server.served.models.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if model is None or (model.token is not None and token != model.token and not model.gated):
            self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif model.token is not None and token != model.token:
            self._answer(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif revision not in (None, model.commit, *model.branches):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        else:
            return model
        return None

    def _api(self, name, what, revision):
        if (model := self._model(name, revision)) is None:
            return
        if what == "tree":
            found = [{"type": "file", "path": path, "size": len(data), "oid": _oid(data)} for path, data in model.files.items()]
        else:
            found = {"id": name, "modelId": name, "sha": model.commit, "siblings": [{"rfilename": path} for path in model.files]}
        self._answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _file(self, name, revision, file):
        if (model := self._model(name, revision)) is None:
            return
        data = model.files[file]
        headers = {"X-Repo-Commit": model.commit, "ETag": f'"{_oid(data)}"'}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self._answer(206 if start else 200, data[start:], headers, model if file == model.hold else None)

    def _answer(self, status, body, headers=None, held_by=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        if held_by is not None:
            self.wfile.flush()
            held_by.held.set()
            held_by.release.wait(PATIENCE)
        self.wfile.write(body[half:])


def _oid(data):
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class HubServer:
    """Has `models` by name; `status` other than 200 is the answer to everything."""

    def __init__(self):
        self.models = {}
        self.requests = []
        self.status = 200
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.served = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def add(self, name, files, **how):
        """Have a model, and return it."""
        self.models[name] = Model(files, **how)
        return self.models[name]

    def fetched(self):
        """Return the paths of files that were sent."""
        return [path.rpartition("/")[2] for command, path, _ in self.requests if command == "GET" and "/resolve/" in path]

    def close(self):
        for model in self.models.values():
            model.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
