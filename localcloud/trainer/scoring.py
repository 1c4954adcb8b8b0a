"""
The deployed model's own server: POST /score answers a conversation, as Azure's foundation-model server does.

It answers strictly where MLflow's scoring script does: the last message must come from the user. The foundation-model server goes by the
chat template alone, and `--last-role any` does too. Which of three reply shapes a fine-tuned Phi-3 gets in Azure is not known; `--reply`
chooses, `output` is the default.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localcloud.trainer import base, chat, generation, mlflow_folder

REPLY_TOKENS_DEFAULT = 256  # about 600 characters of English
BODY_BYTES_MAX = 1_500_000  # Azure ML refuses larger requests
REQUEST_SECONDS_MAX = 60  # a client that sends no more is let go


@dataclass
class Refusal(Exception):
    """The request cannot be scored."""

    status: int
    code: str
    message: str

    def body(self) -> dict[str, Any]:
        """As the model servers say it."""
        return {"error": {"code": self.code, "status": self.status, "message": self.message}}


class Scorer:
    """A model and a lock: one reply at a time, so that a reply's time is its own."""

    def __init__(self, loaded: base.Model, reply: str, *, any_last_role: bool = False) -> None:
        self._model, self._reply, self._any_last_role = loaded, reply, any_last_role
        self._lock = threading.Lock()

    def score(self, body: object) -> object:
        """The answer to a request's JSON."""
        if not isinstance(body, dict) or not isinstance(body.get("input_data"), dict):
            raise Refusal(422, "Invalid input", "A value is not provided for the 'input_data' parameter.")
        data: dict[str, Any] = body["input_data"]
        conversations = _conversations(data.get("input_string"), any_last_role=self._any_last_role)
        wish = _wish(data.get("parameters", data.get("params")) or {})
        with self._lock:
            texts = [self._answer(conversation, wish) for conversation in conversations]
        if self._reply == "records":
            return [{"0": text} for text in texts]
        if self._reply == "list":
            return texts
        return {"output": texts[0]}

    def _answer(self, conversation: Sequence[chat.Message], wish: generation.Wish) -> str:
        prompt = chat.prompt(conversation, self._model.tokenizer)
        return self._model.tokenizer.decode(generation.reply(self._model.weights, self._model.shape, prompt, wish)).strip()


def _conversations(given: object, *, any_last_role: bool) -> list[list[chat.Message]]:
    """A flat list of messages, or a list of such lists."""
    if not isinstance(given, list) or not given:
        raise Refusal(422, "Invalid input", "'input_string' has to be a list of messages with 'role' and 'content'.")
    nested = given if isinstance(given[0], list) else [given]
    for conversation in nested:
        _check(conversation, any_last_role=any_last_role)
    return nested


def _check(conversation: object, *, any_last_role: bool) -> None:
    if not isinstance(conversation, list) or not conversation:
        raise Refusal(422, "Invalid input", "A conversation is empty or not a list of messages.")
    for message in conversation:
        if not isinstance(message, dict) or message.get("role") not in chat.ROLES or not isinstance(message.get("content"), str):
            raise Refusal(422, "Invalid input", "A message needs a 'role' (system, user or assistant) and a 'content' that is text.")
    roles = [message["role"] for message in conversation]
    if roles[-1] != "user" and not any_last_role:
        raise Refusal(500, "Assertion failed", "The last message has to have the role 'user'.")
    spoken = roles[1:] if roles[0] == "system" else roles
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(spoken)):
        raise Refusal(500, "Assertion failed", "Roles have to alternate user, assistant, user, ...; a system message may come first.")


def _wish(parameters: object) -> generation.Wish:
    if not isinstance(parameters, Mapping):
        raise Refusal(422, "Invalid input", "'parameters' has to be an object.")
    try:
        return generation.Wish(
            tokens_max=int(parameters.get("max_new_tokens", REPLY_TOKENS_DEFAULT)),
            sampled=bool(parameters.get("do_sample", False)),
            temperature=float(parameters.get("temperature", 1.0)),
            top_p=float(parameters.get("top_p", 1.0)),
            top_k=int(parameters.get("top_k", 0)),
            seed=abs(int(parameters.get("seed") or 0)),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise Refusal(422, "Invalid input", "A generation parameter is not a number.") from error


def serve(folder: Path, port: int, ready: Path, reply: str, *, any_last_role: bool = False) -> None:
    """Load, listen on 127.0.0.1, say so in the ready file, answer until the process is ended."""
    scorer = Scorer(mlflow_folder.read(folder), reply, any_last_role=any_last_role)
    scorer.score({"input_data": {"input_string": [{"role": "user", "content": "?"}], "parameters": {"max_new_tokens": 1}}})
    server = Server(port, scorer)
    unfinished = ready.with_name(ready.name + ".tmp")
    unfinished.write_text(json.dumps({"port": server.server_address[1], "pid": os.getpid()}), encoding="utf-8")
    unfinished.replace(ready)
    print(f"{mlflow_folder.TRAINER} answers on port {server.server_address[1]}; it is nobody's Phi-3", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


class Server(ThreadingHTTPServer):
    """Listens on the loopback only."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, scorer: Scorer) -> None:
        self.scorer = scorer
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    """Two routes: GET / (alive) and POST /score."""

    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS_MAX
    wbufsize = -1  # one packet for head and body: unbuffered, the second waits 40 ms for an acknowledgement
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        if self.path.split("?")[0] == "/":
            self._send(200, {"status": "Healthy"})
        else:
            self._send(404, {"error": {"code": "NotFound", "status": 404, "message": "Only / and /score exist here."}})

    def do_POST(self) -> None:
        try:
            body = self._body()
            if self.path.split("?")[0] != "/score":
                raise Refusal(404, "NotFound", "Only /score takes requests.")
            self._send(200, self.server.scorer.score(json.loads(body)))
        except Refusal as refusal:
            self._send(refusal.status, refusal.body())
        except (ValueError, RecursionError):
            self._send(422, Refusal(422, "Invalid input", "The request is not JSON.").body())

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise Refusal(411, "LengthRequired", "Send a Content-Length.")
        if int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            raise Refusal(413, "RequestTooLarge", f"A request may have {BODY_BYTES_MAX} bytes.")
        return self.rfile.read(int(length))

    def _send(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Requests are counted by the emulator; a conversation never reaches a log."""
