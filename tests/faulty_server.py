"""A web server on this computer that serves bytes, and misbehaves when told to."""

import email.utils
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Site:
    """What the server has and what it does wrong.

    Attributes:
        files: Content by path, such as ``/a.zip``.
        faults: What happens to the next requests, one each, then nothing: a status such as
            503; ``("drop", n)`` ends the body after n bytes; ``("stall", n)`` goes silent
            there; ``("corrupt", n)`` changes byte n; ``("html",)`` sends a page; ``("part",)``
            sends another part than asked for; ``("unknown length",)`` does not tell it.
        ranges: Whether parts can be asked for.
        validators: Whether ETag and date are sent.
        requests: The ``Range`` and ``If-Range`` of every request.
        address: Of the server.
    """

    files: dict[str, bytes]
    faults: list = field(default_factory=list)
    ranges: bool = True
    validators: bool = True
    requests: list = field(default_factory=list)
    address: str = ""

    @property
    def asked(self) -> list[int]:
        """The first byte that each request asked for."""
        return [int(re.match(r"bytes=(\d+)-", rest)[1]) if rest else 0 for rest, _ in self.requests]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.requests.append((self.headers.get("Range"), self.headers.get("If-Range")))
        fault = self.site.faults.pop(0) if self.site.faults else ("none",)
        content = self.site.files.get(self.path)
        if isinstance(fault, int) or content is None:
            self.send_response(fault if isinstance(fault, int) else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault[0] == "html":
            content = b"<html>please sign in</html>"
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = self._start(content, tag)
        body = self._headers(content, tag, start, fault)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._body(body, start or 0, fault)

    def _start(self, content: bytes, tag: str) -> int | None:
        """First byte of the part to send, None for the whole file."""
        rest = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not rest or not self.site.ranges or condition not in (None, tag):
            return None
        return int(re.match(r"bytes=(\d+)-", rest)[1])

    def _headers(self, content: bytes, tag: str, start: int | None, fault: tuple) -> bytes:
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        self.send_response(200 if start is None else 206)
        body = content[start or 0 :]
        if start is not None:
            claimed = start + 1 if fault[0] == "part" else start
            self.send_header("Content-Range", f"bytes {claimed}-{len(content) - 1}/{len(content)}")
        if fault[0] != "unknown length":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if fault[0] == "html" else "application/octet-stream")
        if self.site.validators:
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", email.utils.formatdate(0, usegmt=True))
        self.end_headers()
        return body

    def _body(self, body: bytes, start: int, fault: tuple) -> None:
        kind, place = fault[0], fault[1] - start if len(fault) > 1 else 0
        if kind == "corrupt" and 0 <= place < len(body):
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        if kind in ("drop", "stall"):
            self.wfile.write(body[:place])
            self.wfile.flush()
            if kind == "stall":
                time.sleep(1.0)
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes], **options: object) -> Iterator[Site]:
    """A running server of the files."""
    site = Site(files, **options)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    server.block_on_close = False
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
