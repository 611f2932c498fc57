"""A server on loopback that answers like an OpenAI-compatible API, with faults played from a script."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the server's script, one reply a request; then answers well."""

    server: FakeOpenAI
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        reply = self.server.next_reply(self.headers.get("Authorization", ""), body)
        with contextlib.suppress(OSError):  # the client has hung up
            reply(self, body)

    def send(self, status: int, body: bytes, *, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class FakeOpenAI(ThreadingHTTPServer):
    """Keeps what it was asked: `requests` holds (authorization, body) in order of arrival."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Reply] = []
        self.default: Reply = good()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.paths: list[str] = []
        self.open = self.most_open = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body in self.requests]

    def next_reply(self, authorization: str, body: dict[str, Any]) -> Reply:
        with self._lock:
            self.requests.append((authorization, body))
            return self.script.pop(0) if self.script else self.default

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            yield
        finally:
            with self._lock:
                self.open -= 1


@contextlib.contextmanager
def serving() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


# -- replies --------------------------------------------------------------------------------------------


def completion(content: Any, *, finish_reason: str = "stop", tokens: int = 10) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": finish_reason,
    }
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "model": "m",
            "choices": [choice],
            "usage": {"total_tokens": tokens},
        }
    ).encode()


def good(content: str | None = None, *, seconds: float = 0.0, tokens: int = 10) -> Reply:
    """A completion; by default one that says how long the question was, so that answers differ."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        with handler.server.counted():
            time.sleep(seconds)
            asked = body["messages"][-1]["content"] if "messages" in body else ""
            handler.send(
                200, completion(f"Length {len(asked)}." if content is None else content, tokens=tokens)
            )

    return reply


def vectors(handler: Handler, body: dict[str, Any]) -> None:
    """Embeddings (a text's length, 1), last text first; a request with 'bad' in it is refused."""
    if "bad" in body["input"]:
        return status(400)(handler, body)
    rows = [{"index": i, "embedding": [len(text), 1]} for i, text in enumerate(body["input"])]
    answer = {"data": rows[::-1], "usage": {"total_tokens": 10 * len(rows)}}
    return handler.send(200, json.dumps(answer).encode())


def both(handler: Handler, body: dict[str, Any]) -> None:
    """Answer well whatever the question: embeddings, or a completion in the note's own last words."""
    note = [] if "input" in body else body["messages"][-1]["content"].split("\n")[1].split()
    (vectors if "input" in body else good(f"Says: {' '.join(note[-5:])}"))(handler, body)


def status(code: int, *, error: str = "", **headers: str) -> Reply:
    """An error as the API words it: it quotes the request."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        message = f"could not serve {body} for {handler.headers.get('Authorization')}"
        payload = {"error": {"message": message, "type": error, "code": error}}
        handler.send(code, json.dumps(payload).encode(), **headers)

    return reply


def raw(body: bytes, *, kind: str = "application/json") -> Reply:
    return lambda handler, _: handler.send(200, body, kind=kind)


def echo(handler: Handler, body: dict[str, Any]) -> None:
    handler.send(200, completion("\n".join(m["content"] for m in body["messages"])))


def hang(handler: Handler, body: dict[str, Any]) -> None:
    time.sleep(5)


def drip(handler: Handler, body: dict[str, Any]) -> None:
    """A good answer at one byte every 50 ms: no single read takes long, all of them take ten seconds."""
    payload = completion("Slow.")
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(payload)))
    handler.end_headers()
    for byte in payload:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def drip_headers(handler: Handler, body: dict[str, Any]) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def reset(handler: Handler, body: dict[str, Any]) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for end in (handler.wfile, handler.rfile, handler.connection):  # only the last one closed sends the reset
        end.close()
    handler.close_connection = True


def cut_short(handler: Handler, body: dict[str, Any]) -> None:
    """Promises more bytes than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True
