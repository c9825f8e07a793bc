"""What two servers do in the same cases, in words that can be compared, and the document that tells the differences."""

from __future__ import annotations

import http.client
import io
import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

Observations = dict[str, str]
"""What was seen, by the case and the aspect: "GET /ready: status" is "200"."""

SHOWN = ("Content-Type", "Cache-Control", "Allow", "Connection")
PRESENT = (
    *("Date", "ETag", "Last-Modified", "Vary", "Content-Length", "Transfer-Encoding", "Accept-Ranges", "Retry-After"),
    *("Content-Security-Policy", "X-Content-Type-Options", "X-Empty"),
)
"""Headers whose presence counts, not their value."""
NONE, CLOSED = "none", "closed"


@dataclass(frozen=True)
class Difference:
    """A row of the document: where, as patterns of observations, one side has this and the other that."""

    name: str
    where: tuple[str, ...]
    hurricane: str
    twistserve: str

    def tells(self, observation: str, hurricane: str, twistserve: str) -> bool:
        same = (self.hurricane, self.twistserve) == (hurricane, twistserve)
        return same and any(fnmatchcase(observation, pattern) for pattern in self.where)


def of_response(data: bytes, case: str, exact: bool = False) -> Observations:
    """What there is to see of one response as it came; `exact` counts the text of its body and not only the kind."""
    if not data:
        return {f"{case}: status": CLOSED}
    response, body = parsed(data, case.partition(" ")[0])
    headers = response.headers
    seen = {"status": str(response.status), "body": _text(body) if exact else kind(body)}
    seen |= {name: headers.get(name) or NONE for name in SHOWN}
    seen |= {name: "there" if name in headers else NONE for name in PRESENT}
    seen["Server"] = (headers.get("Server") or NONE).partition("/")[0]
    return {f"{case}: {aspect}": value for aspect, value in seen.items()}


def parsed(data: bytes, method: str) -> tuple[http.client.HTTPResponse, bytes]:
    """A response as it came, and its body."""
    response = http.client.HTTPResponse(_Socket(data), method=method)  # type: ignore[arg-type]
    response.begin()
    return response, response.read()


def kind(body: bytes) -> str:
    """What a body is, for people who do not compare each word."""
    if not body:
        return "empty"
    try:
        json.loads(body)
    except ValueError:
        return "HTML" if body.lstrip().startswith(b"<") else "text"
    return "JSON"


def _text(body: bytes) -> str:
    shown = body.decode("utf-8", "replace").strip()
    return shown if 0 < len(shown) < 60 and "\n" not in shown else kind(body)


@dataclass
class _Socket:
    data: bytes

    def makefile(self, mode: str) -> object:
        return io.BytesIO(self.data)


def differences(one: Observations, other: Observations) -> dict[str, tuple[str, str]]:
    """Where two servers differ, and what each does; of a response that one of them does not give, only that."""
    closed = {name.removesuffix("status") for seen in (one, other) for name, value in seen.items() if value == CLOSED}
    found = {}
    for name in (*one, *(other.keys() - one.keys())):
        values = one.get(name, NONE), other.get(name, NONE)
        aspect = re.sub(": [^:]*$", ": ", name)
        if values[0] != values[1] and (aspect not in closed or name.endswith(": status")):
            found[name] = values
    return found


def listed(document: Path, letter: str = "D") -> list[Difference]:
    """The rows of a table of differences: an id such as D1, where in code spans, and what each side does."""
    rows = []
    for line in document.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if re.fullmatch(rf"{letter}\d+", cells[0]):
            name, where, hurricane, twistserve = cells[:4]
            spans = [tuple(re.findall(r"`([^`]+)`", cell)) for cell in (where, hurricane, twistserve)]
            assert [len(each) for each in spans[1:]] == [1, 1], f"{name} is not written as the other rows"
            rows.append(Difference(name, spans[0], spans[1][0], spans[2][0]))
    return rows
