"""What a probe answers: its checks' results as JSON in the shape of the IETF draft, or as lines of text for people."""

from __future__ import annotations

import json

from twistserve.http.negotiation import weight, weights
from twistserve.probes.checks import Result, worst

Results = dict[str, Result]

JSON = b"application/health+json"
TEXT = b"text/plain; charset=utf-8"
_JSON_RANGES = ("application/health+json", "application/json", "application/*", "*/*")
_TEXT_RANGES = ("text/plain", "text/*", "*/*")


def answer(results: Results, accept: str, verbose: bool) -> tuple[bytes, bytes]:
    """The content type that the Accept header prefers, and the body in it; `verbose` adds how long checks took."""
    if prefers_text(accept):
        return TEXT, as_text(results, verbose)
    return JSON, as_json(results, verbose)


def prefers_text(accept: str) -> bool:
    """Whether text is wanted more than JSON (RFC 9110, section 12.5.1); JSON where neither is."""
    wanted = weights(accept)
    text, other = weight(wanted, *_TEXT_RANGES), weight(wanted, *_JSON_RANGES)
    # At the same weight, a type that is named is meant more than one that a wildcard lets in.
    by_name = "text/plain" in wanted and wanted.keys().isdisjoint(_JSON_RANGES[:2])
    return text > other or (text == other > 0 and by_name)


def as_json(results: Results, verbose: bool) -> bytes:
    """The body as application/health+json."""
    body = {
        "status": worst(result.status for result in results.values()).value,
        "checks": {name: [_entry(result, verbose)] for name, result in results.items()},
    }
    return json.dumps(body).encode() + b"\n"


def as_text(results: Results, verbose: bool) -> bytes:
    """The body as text: the status, then a line for each check."""
    lines = [worst(result.status for result in results.values()).value]
    for name, result in results.items():
        line = f"{result.status.value} {name}"
        if result.observed is not None:
            line += f" {result.observed}"
        if result.output:
            line += f": {' '.join(result.output.split())}"
        if verbose and result.seconds is not None:
            line += f" ({result.seconds:.3f} s)"
        lines.append(line)
    # A check may say anything; half a surrogate pair cannot be encoded.
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def _entry(result: Result, verbose: bool) -> dict[str, object]:
    seconds = round(result.seconds, 4) if verbose and result.seconds is not None else None
    fields = {
        "status": result.status.value,
        "observedValue": result.observed,
        "output": result.output,
        "seconds": seconds,
    }
    return {name: value for name, value in fields.items() if value is not None}
