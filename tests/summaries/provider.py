"""An OpenAI-compatible server on loopback that says what a test wants, when the test wants it."""

import json
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

MODEL = "scripted"
TOPICS = ["first topic", "second topic", "third topic"]
NOTES, SUMMARY, NAMES = "notes", "summary", "topics"


@dataclass
class Asked:
    """One request for a completion."""

    kind: str
    content: str
    """The last message: the passages that it is about."""
    model: str
    is_answered: bool = False


@dataclass
class Script:
    asked: list[Asked] = field(default_factory=list)
    n_abandoned: int = 0
    """Requests whose client went away before it had its answer."""
    may_answer: Event = field(default_factory=Event)
    """While it is not set every request waits."""
    hold_after: int | None = None
    """Once so many are answered, the others wait."""
    reply: Callable[[Asked], str | int] = lambda asked: said(asked)
    """The text to answer with, or an error's status code."""
    models: tuple[str, ...] = (MODEL,)

    @property
    def holds(self) -> bool:
        n_answered = sum(each.is_answered for each in list(self.asked))
        is_full = self.hold_after is not None and n_answered >= self.hold_after
        return is_full or not self.may_answer.is_set()

    def begin_anew(self, *, hold_after: int | None = None) -> None:
        self.asked.clear()
        self.hold_after = hold_after
        self.may_answer.set()

    def of_kind(self, kind: str) -> list[Asked]:
        return [each for each in list(self.asked) if each.kind == kind]


def said(asked: Asked) -> str:
    if asked.kind == NAMES:
        return json.dumps({"topics": TOPICS})
    return "Much was said." if asked.kind == NOTES else "All of it in short."


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
        asked = Asked(_kind(content), content, body["model"])
        script.asked.append(asked)
        if not self._wait():
            script.n_abandoned += 1
            self.close_connection = True
            return
        reply = script.reply(asked)
        asked.is_answered = True
        if isinstance(reply, int):
            self._send(reply, {"error": {"message": f"scripted error {reply}"}})
        else:
            self._send(200, _completion(body["model"], reply))

    def _wait(self) -> bool:
        """Until an answer is due; False when the client does not wait for it any more."""
        while self.server.script.holds:
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable:
                return False  # nothing more was to come on this connection but its end
        return True

    def _send(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-should-retry", "false")  # the client would wait and ask twice more
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def _kind(content: str) -> str:
    last_line = content.rstrip().rsplit("\n", 1)[-1]
    for kind in (NOTES, SUMMARY, NAMES):
        if kind in last_line:
            return kind
    raise AssertionError(f"What is asked for? {last_line!r}")


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
def serving(script: Script) -> Iterator[str]:
    """The base URL of a server that plays `script`."""
    with _Server(script) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            script.begin_anew()
            server.shutdown()
            thread.join()
