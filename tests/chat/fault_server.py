"""An OpenAI-compatible server with injected faults: real HTTP, on loopback.

    with FaultServer() as server:
        server.behave(refuse(429, headers={"Retry-After": "0"}), reply("Yes."))
        ...  # point OPENAI_BASE_URL at server.url
        assert server.requests[0]["model"] == "fault-1"

`behave` sets the behaviours of the next chat requests, in order; the last one stays. A behaviour is a function of
the Exchange. By default the server answers REPLY, whole or streamed, as the request asks.
"""

import gzip
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MODEL = "fault-1"
REPLY = "The launch was moved to Friday."
USAGE = {"prompt_tokens": 120, "completion_tokens": 9, "total_tokens": 129}


class Exchange(BaseHTTPRequestHandler):
    """One request and its response."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: "FaultServer"
    body: dict[str, Any]

    def setup(self) -> None:
        super().setup()
        self.faults.count(open_=1)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.faults.count(open_=-1)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        models = self.faults.models
        self.faults.n_listings += 1
        if self.faults.listing_status != 200 or not self.path.endswith("/v1/models"):
            status = 404 if self.faults.listing_status == 200 else self.faults.listing_status
            self.send(json.dumps({"error": {"message": "no such page"}}), status=status)
        else:
            self.send(json.dumps({"object": "list", "data": models}))

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/v1/chat/completions"):
            self.send(json.dumps({"error": {"message": "no such page"}}), status=404)
            return
        self.faults.next_behaviour(self.body, self.headers.get("Authorization", ""))(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Disable request logging."""

    def send(
        self,
        content: str,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        n_missing: int = 0,
    ) -> None:
        """Send a whole response. `n_missing`: by how many bytes Content-Length exceeds the body."""
        encoded = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(encoded) + n_missing))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(encoded)

    def start_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_event(self, event: str) -> None:
        data = f"data: {event}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def send_delta(self, content: str | None, finish: str | None = None, **more: Any) -> None:
        delta = {} if content is None else {"content": content}
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        self.send_event(json.dumps({"model": MODEL, "choices": choices, **more}))

    def end_stream(self) -> None:
        self.send_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def wait(self, seconds: float) -> bool:
        """Wait. Returns False as soon as the client disconnects or the server stops."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.faults.is_stopping:
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and self._is_disconnected():
                self.faults.count(abandoned=1)
                self.close_connection = True
                return False
        return not self.faults.is_stopping

    def _is_disconnected(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True


Behaviour = Callable[[Exchange], None]


def reply(
    content: str | None = REPLY,
    *,
    finish: str = "stop",
    usage: dict[str, int] | None = USAGE,
    **message: Any,
) -> Behaviour:
    """A valid answer, whole or streamed word by word, as the request asks."""

    def behave(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            exchange.start_stream()
            for word in (content or "").split(" "):
                exchange.send_delta(f"{word} " if word else word)
            exchange.send_delta(None, finish)
            if usage and exchange.body.get("stream_options", {}).get("include_usage"):
                exchange.send_event(json.dumps({"model": MODEL, "choices": [], "usage": usage}))
            exchange.end_stream()
            return
        document = {"role": "assistant", "content": content, **message}
        choices = [{"index": 0, "message": document, "finish_reason": finish}]
        answer: dict[str, Any] = {"id": "1", "model": MODEL, "choices": choices}
        exchange.send(json.dumps(answer | ({"usage": usage} if usage else {})))

    return behave


def refuse(
    status: int, error: dict[str, Any] | None = None, *, headers: dict[str, str] | None = None
) -> Behaviour:
    """An error response."""
    document = json.dumps({"error": error or {"message": f"error {status}"}})
    return lambda exchange: exchange.send(document, status=status, headers=headers)


def refuse_parameter(name: str, then: Behaviour, *, is_named: bool = True) -> Behaviour:
    """Reject every request with this parameter. `is_named`: whether the error has a `param` field."""

    def behave(exchange: Exchange) -> None:
        if name not in exchange.body:
            then(exchange)
            return
        error = {
            "message": f"Unsupported parameter: '{name}'.",
            "param": name if is_named else None,
        }
        refuse(400, error)(exchange)

    return behave


def limit_context(n_context: int, then: Behaviour, *, reports_sizes: bool = True) -> Behaviour:
    """Reject prompts over `n_context` tokens of three characters, with llama.cpp's error.

    `reports_sizes`: whether the error has the sizes of the prompt and the context window.
    """

    def behave(exchange: Exchange) -> None:
        n_prompt = sum(len(each["content"]) for each in exchange.body["messages"]) // 3
        if n_prompt < n_context:
            then(exchange)
            return
        error: dict[str, Any] = {"message": "too long", "type": "exceed_context_size_error"}
        sizes = {"n_prompt_tokens": n_prompt, "n_ctx": n_context}
        refuse(400, error | (sizes if reports_sizes else {}))(exchange)

    return behave


def send_text(content: str, *, content_type: str = "application/json") -> Behaviour:
    """Any content, with status 200."""
    return lambda exchange: exchange.send(content, content_type=content_type)


def never_end(exchange: Exchange) -> None:
    """Send reasoning, which is not shown, until the client goes away."""
    event = json.dumps({"choices": [{"delta": {"reasoning": "hm " * 20_000}}]})
    exchange.close_connection = True
    if exchange.body.get("stream"):
        exchange.start_stream()
        while not exchange.faults.is_stopping:
            exchange.send_event(event)
            exchange.faults.n_sent += len(event)
    exchange.send('{"choices": [', n_missing=10**12)
    while not exchange.faults.is_stopping:
        exchange.wfile.write(event.encode())
        exchange.faults.n_sent += len(event)


def send_compressed(exchange: Exchange) -> None:
    """An answer of 100 MB, which takes 100 KB on its way."""
    body = gzip.compress(b'{"choices": [{"message": {"content": "' + b" " * 100_000_000 + b'"}}]}')
    exchange.send_response(200)
    exchange.send_header("Content-Type", "application/json")
    exchange.send_header("Content-Encoding", "gzip")
    exchange.send_header("Content-Length", str(len(body)))
    exchange.end_headers()
    exchange.wfile.write(body)


def hang(exchange: Exchange) -> None:
    """Never answer."""
    exchange.wait(60)
    exchange.close_connection = True


def slow(seconds: float, then: Behaviour) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        if exchange.wait(seconds):
            then(exchange)

    return behave


def cut_body(exchange: Exchange) -> None:
    """Close the connection in the middle of the body."""
    exchange.send('{"choices": [', n_missing=100)
    exchange.close_connection = True


def cut_stream(exchange: Exchange) -> None:
    """Close the connection after a few words, without the last transfer chunk."""
    exchange.start_stream()
    exchange.send_delta("The launch ")
    exchange.close_connection = True


def end_stream_early(exchange: Exchange) -> None:
    """End the transfer properly after a few words, without a finish reason and [DONE]."""
    exchange.start_stream()
    exchange.send_delta("The launch ")
    exchange.wfile.write(b"0\r\n\r\n")


def stall_stream(exchange: Exchange) -> None:
    """Send a few words, and then nothing more."""
    exchange.start_stream()
    exchange.send_delta("The launch ")
    exchange.wait(60)
    exchange.close_connection = True


class FaultServer:
    """Runs during the `with` block, on its own port."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        """The bodies of all chat requests."""
        self.keys: list[str] = []
        """The Authorization header of each."""
        self.models: list[dict[str, Any]] = [{"id": MODEL, "meta": {"n_ctx": 8192}}]
        self.listing_status = 200
        self.n_listings = 0
        self.n_sent = 0
        """Bytes of answers that do not end."""
        self.n_open = 0
        """Open connections."""
        self.n_abandoned = 0
        """Clients that disconnected before the end of their answer."""
        self.is_stopping = False
        self._behaviours: list[Behaviour] = [reply()]
        self._lock = threading.Lock()
        handler = type("Handler", (Exchange,), {"faults": self})
        self._server = _Server(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        """For OPENAI_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def behave(self, *behaviours: Behaviour) -> None:
        with self._lock:
            self._behaviours = list(behaviours)

    def next_behaviour(self, body: dict[str, Any], key: str) -> Behaviour:
        with self._lock:
            self.requests.append(body)
            self.keys.append(key)
            return self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]

    def count(self, *, open_: int = 0, abandoned: int = 0) -> None:
        with self._lock:
            self.n_open += open_
            self.n_abandoned += abandoned

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_stopping = True
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
