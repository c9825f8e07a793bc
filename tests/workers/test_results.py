"""Results on their way from a worker to the parent."""

from __future__ import annotations

import json

from twistserve.probes.checks import Result, Status
from twistserve.workers.results import from_json, to_json


def test_results_come_back_as_they_were() -> None:
    """With their status, and all that a probe shows of them."""
    found = {"shop.open": Result(Status.PASS), "till": Result(Status.FAIL, output="stuck since 10:00, “as ever”")}
    assert from_json(json.loads(json.dumps(to_json(found)))) == found
