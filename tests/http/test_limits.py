"""The bounds that hold unless options say otherwise."""

from __future__ import annotations

import dataclasses

import pytest

from twistserve.http.limits import Limits
from twistserve.resolution import resolve


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_the_defaults_are_the_options(name: str) -> None:
    """A site that is made without limits has those of a service that is started without options."""
    configuration = resolve({}, {}, lambda *_: {})
    option = {"max_body": "max_body_size", "max_head": "max_header_size"}.get(name, name)
    assert getattr(Limits(), name) == getattr(configuration, option)
