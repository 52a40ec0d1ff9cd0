"""A server of files for tests: ranges, validators, redirects; and each of its answers can be made to go wrong."""

import contextlib
import hashlib
import http.server
import ssl
import threading
from dataclasses import dataclass, field
from email.utils import formatdate

from motet.testing import PATIENCE


@dataclass
class File:
    """One file and how it is served.

    `cut` ends the connection after so many bytes of the first answer. `hold` waits after so many bytes of the body for `release`;
    `held` says that it is so far.
    """

    content: bytes = b""
    etag: str | None = None  # with its quotes; None for the content's digest
    validators: bool = True
    ranges: bool = True
    cut: int | None = None
    hold: int | None = None
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    encoding: str | None = None
    length: bool = True

    @property
    def tag(self):
        return self.etag or f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # the client went away
            super().handle()

    def do_GET(self):
        served = self.server.served
        served.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.close_connection = True
        if (raw := served.raw.get(self.path)) is not None:
            self.wfile.write(raw)
        elif (location := served.redirects.get(self.path)) is not None:
            self._head(302, {"Location": location, "Content-Length": "0"})
        elif (file := served.files.get(self.path.partition("?")[0])) is not None and served.status == 200:
            self._send(file)
        else:
            self._head(served.status if served.status != 200 else 404, {"Content-Length": "0"})

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, file):
        content, headers = file.content, {}
        if file.validators:
            headers |= {"ETag": file.tag, "Last-Modified": formatdate(0, usegmt=True)}
            if self.headers.get("If-None-Match") == file.tag:
                self._head(304, headers)
                return
        status, start = 200, 0
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range", file.tag)
        if wanted is not None and file.ranges and condition in (file.tag, headers.get("Last-Modified")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if file.encoding is not None:
            headers["Content-Encoding"] = file.encoding
        if file.length:
            headers["Content-Length"] = str(len(body))
        self._head(status, headers)
        if file.cut is not None:
            body, file.cut = body[: file.cut], None
        if file.hold is not None:
            self.wfile.write(body[: file.hold])
            self.wfile.flush()
            body, file.hold = body[file.hold :], None
            file.held.set()
            file.release.wait(PATIENCE)
        self.wfile.write(body)


class FileServer:
    """Serves `files` by path; `redirects` and `raw` answers, bytes for bytes, come before them; `status` other than 200 before all."""

    def __init__(self, context=None):
        self.files = {}
        self.redirects = {}
        self.raw = {}
        self.status = 200
        self.requests = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.served = self
        self.port = self._server.server_address[1]
        self.scheme = "http" if context is None else "https"
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def url(self, path, host="127.0.0.1"):
        return f"{self.scheme}://{host}:{self.port}{path}"

    def add(self, path, content, **how):
        """Serve a file, and return it."""
        self.files[path] = File(content, **how)
        return self.files[path]

    def headers_of(self, path):
        """Return the headers of each request for a path."""
        return [headers for asked, headers in self.requests if asked == path]

    def close(self):
        for file in self.files.values():
            file.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
