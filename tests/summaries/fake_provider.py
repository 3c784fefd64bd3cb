"""An OpenAI-compatible server on loopback that follows a test's script."""

import json
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

MODEL = "scripted"
TOPICS = ["first topic", "second topic", "third topic"]


class Kind(StrEnum):
    """What a request asks for; the last line of each prompt names it."""

    NOTES = "notes"
    SUMMARY = "summary"
    TOPICS = "topics"


@dataclass
class CompletionRequest:
    kind: Kind
    content: str
    """The last message, which holds the passages."""
    model: str
    is_answered: bool = False


@dataclass
class Script:
    """What the server answers and when, and the requests it got."""

    requests: list[CompletionRequest] = field(default_factory=list)
    n_cancelled: int = 0
    """Requests whose client closed the connection before it had its answer."""
    may_answer: Event = field(default_factory=Event)
    """While it is not set, no request is answered."""
    max_answers: int | None = None
    """Once so many requests are answered, the others wait; None for no limit."""
    reply: Callable[[CompletionRequest], str | int] = lambda request: default_reply(request)
    """The text to answer with, or an error's status code."""
    models: tuple[str, ...] = (MODEL,)

    @property
    def is_paused(self) -> bool:
        n_answered = sum(request.is_answered for request in list(self.requests))
        is_full = self.max_answers is not None and n_answered >= self.max_answers
        return is_full or not self.may_answer.is_set()

    def restart(self, *, max_answers: int | None = None) -> None:
        """Forget the requests, and answer again."""
        self.requests.clear()
        self.max_answers = max_answers
        self.may_answer.set()

    def of_kind(self, kind: Kind) -> list[CompletionRequest]:
        return [request for request in list(self.requests) if request.kind == kind]

    def contents(self, kind: Kind) -> list[str]:
        return [request.content for request in self.of_kind(kind)]


def default_reply(request: CompletionRequest) -> str:
    if request.kind == Kind.TOPICS:
        return json.dumps({"topics": TOPICS})
    return "Much was said." if request.kind == Kind.NOTES else "All of it in short."


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        models = [{"id": each, "object": "model"} for each in self.server.script.models]
        self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        script = self.server.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = str(body["messages"][-1]["content"])
        request = CompletionRequest(_kind(content), content, body["model"])
        script.requests.append(request)
        if not self._wait():
            script.n_cancelled += 1
            self.close_connection = True
            return
        reply = script.reply(request)
        request.is_answered = True
        if isinstance(reply, int):
            self._send(reply, {"error": {"message": f"scripted error {reply}"}})
        else:
            self._send(200, _completion(body["model"], reply))

    def _wait(self) -> bool:
        """Wait until the script lets requests be answered. False if the client closed the connection."""
        while self.server.script.is_paused:
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable:
                return False  # the client sends nothing more, so this is the connection's end
        return True

    def _send(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-should-retry", "false")  # else the client retries
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def _kind(content: str) -> Kind:
    last_line = content.rstrip().rsplit("\n", 1)[-1]
    for kind in Kind:
        if kind in last_line:
            return kind
    raise AssertionError(f"The prompt names no known kind of request: {last_line!r}")


def _completion(model: str, text: str) -> dict[str, Any]:
    return {
        "id": "completion-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


@contextmanager
def serve(script: Script) -> Iterator[str]:
    """Run a server that follows `script`; yields its base URL."""
    with _Server(script) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            script.restart()
            server.shutdown()
            thread.join()
