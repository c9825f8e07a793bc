"""Results of checks on their way from a worker to the parent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from twistserve.probes.checks import Result, Status
from twistserve.probes.responses import Results


def to_json(results: Results) -> dict[str, Any]:
    """Results as values of JSON."""
    return {name: {**asdict(result), "status": result.status.value} for name, result in results.items()}


def from_json(results: dict[str, Any]) -> Results:
    """Results from values of JSON."""
    return {name: Result(**{**fields, "status": Status(fields["status"])}) for name, fields in results.items()}
