"""A client of the Debug Adapter Protocol, as VS Code is one: what it takes to stop at a breakpoint and look around."""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.functional.harness import PATIENCE, wait_for

Message = dict[str, Any]


class DebugClient:
    """One connection to a debug adapter. Everything waits for what it needs, for `PATIENCE` seconds at most."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._events: deque[Message] = deque()
        self._responses: dict[int, Message] = {}

    def close(self) -> None:
        """Leave without a word."""
        self._file.close()
        self._socket.close()

    # The protocol

    def send(self, command: str, **arguments: Any) -> int:
        """Send a request; its number."""
        self._number += 1
        body = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        text = json.dumps(body).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        return self._number

    def response(self, number: int) -> Any:
        """The body of the response to the request with this number."""
        while number not in self._responses:
            self._receive()
        response = self._responses.pop(number)
        assert response["success"], response
        return response.get("body")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a request and wait for the body of its response."""
        return self.response(self.send(command, **arguments))

    def event(self, name: str) -> Any:
        """The body of the first event of this name that has not been taken; others before it are dropped."""
        while True:
            while self._events:
                event = self._events.popleft()
                if event["event"] == name:
                    return event.get("body")
            self._receive()

    def wait_for_close(self) -> None:
        """Wait until the adapter closes the connection."""
        with suppress(ConnectionError):
            while True:
                self._receive()

    def _receive(self) -> None:
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            if not line:
                raise ConnectionResetError("the adapter has closed the connection")
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message = json.loads(self._file.read(length))
        if message["type"] == "event":
            self._events.append(message)
        elif message["type"] == "response":
            self._responses[message["request_seq"]] = message

    # What a developer does

    def attach(self, breakpoints: Mapping[Path, Sequence[int]]) -> None:
        """Attach, with breakpoints at these lines of these files."""
        self.ask("initialize", clientID="tests", adapterID="debugpy", linesStartAt1=True, pathFormat="path")
        attached = self.send("attach", justMyCode=False)
        self.event("initialized")
        for path, lines in breakpoints.items():
            self.set_breakpoints(path, lines)
        self.ask("configurationDone")
        self.response(attached)

    def set_breakpoints(self, path: Path, lines: Sequence[int]) -> None:
        """Have these breakpoints in a file, and no others."""
        found = self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": line} for line in lines])
        assert all(each["verified"] for each in found["breakpoints"]), found

    def stopped(self) -> int:
        """Wait until a thread stands at a breakpoint; its id."""
        body = self.event("stopped")
        assert body["reason"] == "breakpoint", body
        return int(body["threadId"])

    def frame(self, thread: int) -> Message:
        """The innermost frame of a thread that stands at a breakpoint."""
        found: Message = self.ask("stackTrace", threadId=thread)["stackFrames"][0]
        return found

    def variables(self, thread: int) -> dict[str, str]:
        """The local variables of the innermost frame, as they are shown."""
        scopes = self.ask("scopes", frameId=self.frame(thread)["id"])["scopes"]
        reference = next(each["variablesReference"] for each in scopes if each["name"] == "Locals")
        found = self.ask("variables", variablesReference=reference)["variables"]
        return {each["name"]: each["value"] for each in found}

    def go_on(self, thread: int) -> None:
        """Let all threads run again."""
        self.ask("continue", threadId=thread)

    def disconnect(self) -> None:
        """Detach, and let the program run on."""
        self.ask("disconnect", terminateDebuggee=False)
        self.close()


def connect(port: int) -> DebugClient:
    """A client of the adapter at this port, once it listens there."""

    def tried() -> DebugClient | None:
        with suppress(ConnectionRefusedError):
            return DebugClient(port)
        return None

    return wait_for(tried, f"a debugger to be listened for on port {port}")


@contextmanager
def attached(port: int, breakpoints: Mapping[Path, Sequence[int]]) -> Iterator[DebugClient]:
    """A client that is attached, with these breakpoints, until the block ends."""
    client = connect(port)
    try:
        client.attach(breakpoints)
        yield client
    finally:
        client.close()


def line_of(path: Path, text: str) -> int:
    """The number of the line of a file that has this text."""
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)
