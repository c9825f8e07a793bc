"""What an event of a webhook may hold, by the schemas that receivers have."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.documents.tables import DOCS


def _validator(name: str) -> Draft202012Validator:
    """A schema of docs/schemas/, as strict as can be: receivers are to take fields that a later version adds."""
    schema = json.loads((DOCS / "schemas" / name).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator({**schema, "additionalProperties": False})


OURS, HURRICANES = _validator("webhook.json"), _validator("webhook-hurricane.json")


def assert_valid(event: dict[str, Any]) -> None:
    """The event has what its schema says, and nothing else."""
    (OURS if "event" in event else HURRICANES).validate(event)
