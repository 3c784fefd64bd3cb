"""A proxy between the service and its language model that records all exchanges."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx

Document = dict[str, Any]


class RecordingProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target = target
        self.exchanges: list[tuple[Document, Document]] = []
        """Request and response of each completion, in the order of the responses."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Forward(BaseHTTPRequestHandler):
    server: RecordingProxy

    def do_GET(self) -> None:
        self._forward("GET", b"")

    def do_POST(self) -> None:
        self._forward("POST", self.rfile.read(int(self.headers["Content-Length"])))

    def _forward(self, method: str, body: bytes) -> None:
        url = self.server.target + self.path.removeprefix("/v1")
        answer = httpx.request(
            method, url, content=body, headers={"Content-Type": "application/json"}, timeout=120
        )
        if method == "POST" and answer.headers["Content-Type"].startswith("application/json"):
            self.server.exchanges.append((json.loads(body), answer.json()))
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def recording(target: str) -> Iterator[RecordingProxy]:
    with RecordingProxy(target) as proxy:
        thread = Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
