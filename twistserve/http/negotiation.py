"""What a client wants, by the weights of Accept and Accept-Encoding (RFC 9110 sections 12.4.2 and 12.5)."""

from __future__ import annotations

import re

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def weights(header: str) -> dict[str, float]:
    """The weight of each thing that is named, in lower case, without its parameters; named twice, the higher."""
    found: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:].strip() for each in parameters if each.startswith("q=")), "1")
        found[name] = max(found.get(name, 0.0), float(quality) if _QUALITY.fullmatch(quality) else 0.0)
    return found


def weight(wanted: dict[str, float], *names: str) -> float:
    """The weight of the first of the names that has one: what is meant, then the wildcards that let it in; else 0."""
    return next((wanted[name] for name in names if name in wanted), 0.0)
