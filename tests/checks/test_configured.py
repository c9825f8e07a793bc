"""Checks of the options themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checks import found, told
from twistserve.checks.configured import keys_are_known, options_are_valid, variables_are_known


def test_unknown_keys() -> None:
    """Each with the nearest name, or with all there are."""
    near, far = told(found(keys_are_known, {"TWISTSERVE": {"PROT": 8000, "THREADS": 2, 3: 4}}))
    assert near == (
        "(twistserve.W010) The setting TWISTSERVE has an unknown key 'PROT', with which the server does not start."
        " HINT: Did you mean 'PORT'?"
    )
    assert "unknown key 3," in far
    assert "HINT: There are WSGI, HOST, PORT" in far


@pytest.mark.parametrize("settings", [{}, {"TWISTSERVE": {"PORT": 8000}}, {"TWISTSERVE": []}])
def test_known_keys(settings: dict[str, Any]) -> None:
    """They are not told; what has no keys is for another check."""
    assert found(keys_are_known, settings) == []


def test_unknown_variables() -> None:
    """Each with what may have been meant."""
    environ = {"TWISTSERVE_TREADS": "2", "TWISTSERVE_QZQZQZQZQZQZQZQZQZ": "1", "TWISTSERVE_PORT": "80", "PATH": "/bin"}
    far, near = told(found(variables_are_known, {}, environ))
    assert near == (
        "(twistserve.W011) The environment variable TWISTSERVE_TREADS is not a known option, and has no effect."
        " HINT: Did you mean TWISTSERVE_THREADS?"
    )
    assert "TWISTSERVE_QZQZQZQZQZQZQZQZQZ" in far
    assert "HINT: Remove it" in far


def test_known_variables() -> None:
    """Those of options, and those that Kubernetes sets for a Service."""
    environ = {"TWISTSERVE_PORT": "tcp://10.0.0.7:80", "TWISTSERVE_SERVICE_HOST": "10.0.0.7", "TWISTSERVE_THREADS": "1"}
    assert found(variables_are_known, {}, environ) == []


def test_unknown_variables_are_told_once_in_a_start() -> None:
    """The server has told of them before it runs the checks."""
    assert found(variables_are_known, {}, {"TWISTSERVE_TREADS": "2"}, server={}) == []


@pytest.mark.parametrize(
    ("settings", "environ", "message"),
    [
        ({"TWISTSERVE": []}, {}, "The setting TWISTSERVE is a list. HINT: Give a dictionary such as {'PORT': 8000}."),
        ({"TWISTSERVE": {"PORT": -1}}, {}, "--port: -1 from the setting TWISTSERVE['PORT'] is not valid. HINT: "),
        (
            {},
            {"TWISTSERVE_STATIC": "si"},
            "--static: 'si' from the environment variable TWISTSERVE_STATIC is not valid",
        ),
        (
            {"TWISTSERVE": {"PORT": 80, "PROBE_PORT": 80, "WORKERS": 2}},
            {},
            "--probe-port: 80 is the port of --port too, where with --workers 2 each worker could tell of itself alone."
            " HINT: Give the probes a port of their own",
        ),
    ],
)
def test_options_that_are_not_valid(settings: dict[str, Any], environ: dict[str, str], message: str) -> None:
    """In the words of the start that refuses them."""
    [text] = told(found(options_are_valid, settings, environ))
    assert text.startswith(f"(twistserve.W012) {message}")


def test_options_that_are_valid() -> None:
    """An unknown key is no reason to say anything here."""
    assert found(options_are_valid, {"TWISTSERVE": {"PORT": 80, "PROT": 1}}, {"TWISTSERVE_THREADS": "2"}) == []
