"""Checks of SECURE_PROXY_SSL_HEADER against --forwarded-allow-ips."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checks import found, told
from twistserve.checks.proxies import scheme_can_be_known, scheme_can_be_known_by_default, scheme_cannot_be_forged

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
SETTING = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (("HTTP_X_FORWARDED_PROTO",), "Give a tuple of two texts"),
        ("HTTP_X_FORWARDED_PROTO", "Give a tuple of two texts"),
        (("HTTP_X_FORWARDED_PROTO", True), "Give a tuple of two texts"),
        (
            ("X-Forwarded-Proto", "https"),
            "which no request has. HINT: Write it as request.META does: 'HTTP_X_FORWARDED_P",
        ),
        (("X_FORWARDED_PROTO", "https"), "'HTTP_X_FORWARDED_PROTO'."),
        (("HTTP_X-Forwarded-Proto", "https"), "'HTTP_X_FORWARDED_PROTO'."),
        (("HTTP_X_FORWARDED_PROTO", "on"), "to be 'on', which proxies do not send: no request is secure. HINT: Give"),
    ],
)
def test_settings_that_no_proxy_can_satisfy(setting: Any, named: str) -> None:
    """Whatever the options are."""
    [text] = told(found(scheme_can_be_known, {"SECURE_PROXY_SSL_HEADER": setting}))
    assert text.startswith("(twistserve.W006) SECURE_PROXY_SSL_HEADER ")
    assert named in text
    for deployment in (scheme_can_be_known_by_default, scheme_cannot_be_forged):
        assert found(deployment, {"SECURE_PROXY_SSL_HEADER": setting}) == []


@pytest.mark.parametrize(
    ("server", "environ"),
    [
        ({"forwarded_allow_ips": ","}, {}),
        ({"forwarded_allow_ips": "unix"}, {}),
        ({"forwarded_allow_ips": "private", "host": "127.0.0.1"}, {}),
        ({"forwarded_allow_ips": "private", "host": "localhost"}, {}),
        ({"forwarded_allow_ips": "loopback", "host": "10.0.0.5"}, {}),
        ({"host": "10.0.0.5"}, {}),
        ({"endpoint": ["unix:/run/web.sock"]}, {}),
        ({"endpoint": ["unix:/run/web.sock", r"tcp:80:interface=\:\:1"], "forwarded_allow_ips": "private"}, {}),
        ({}, POD),
        ({"endpoint": ["tcp:8000"]}, POD),
    ],
)
def test_options_that_name_no_proxy_who_can_connect(server: dict[str, Any], environ: dict[str, str]) -> None:
    """The setting has no effect, and the remedy is the option; in a pod nobody connects from the pod itself."""
    [text] = told(found(scheme_can_be_known, SETTING, environ, server))
    assert text.startswith("(twistserve.W006) SECURE_PROXY_SSL_HEADER has no effect: X-Forwarded-Proto is removed from")
    assert "HINT: Name the proxy's address or network with --forwarded-allow-ips" in text


@pytest.mark.parametrize(
    ("server", "environ"),
    [
        ({}, {}),
        ({"host": "127.0.0.1"}, POD),
        ({"host": "::"}, {}),
        ({"host": "proxied.example"}, {}),
        ({"forwarded_allow_ips": "loopback"}, POD),
        ({"forwarded_allow_ips": "private"}, POD),
        ({"forwarded_allow_ips": "10.0.0.0/8", "host": "10.0.0.5"}, {}),
        ({"forwarded_allow_ips": "0.0.0.0/0", "host": "10.0.0.5"}, {}),
        ({"forwarded_allow_ips": "0.0.0.0/0", "host": "127.0.0.1"}, {}),
        ({"forwarded_allow_ips": "*", "endpoint": ["unix:/run/web.sock"]}, POD),
        ({"forwarded_allow_ips": "unix", "endpoint": ["unix:/run/web.sock"]}, POD),
        ({"endpoint": ["tcp:80:interface=127.0.0.1"]}, POD),
        ({"endpoint": ["tls:/certificates:port=443"]}, POD),
        ({"endpoint": ["ssl:443:privateKey=a:certKey=b"]}, POD),
    ],
)
def test_options_that_name_a_proxy(server: dict[str, Any], environ: dict[str, str]) -> None:
    """By default one on this machine; TLS that ends here needs none."""
    assert found(scheme_can_be_known, SETTING, environ, server) == []


@pytest.mark.parametrize("setting", [None, ("HTTP_X_SCHEME", "https")])
def test_other_settings(setting: Any) -> None:
    """Without it nothing can be wrong with it, and other fields are not removed."""
    assert found(scheme_can_be_known, {"SECURE_PROXY_SSL_HEADER": setting}, POD, {}) == []


def test_a_command_line_may_name_a_proxy() -> None:
    """So the default is told of by the deployment check alone; what is given is certain."""
    ordinary, deployment = scheme_can_be_known, scheme_can_be_known_by_default
    for environ in ({}, POD):
        assert found(ordinary, SETTING, environ) == []
        [text] = told(found(deployment, SETTING, environ))
        assert text.startswith("(twistserve.W006) SECURE_PROXY_SSL_HEADER has no effect by default")
    for value, messages in (("private", 0), (",", 1), ("unix", 0)):
        environ = {"TWISTSERVE_FORWARDED_ALLOW_IPS": value}
        assert len(found(ordinary, SETTING, environ)) == messages
        assert found(deployment, SETTING, environ) == []


@pytest.mark.parametrize(
    ("settings", "environ", "server"),
    [
        ({}, {}, None),
        (SETTING | {"DEBUG": True}, {}, None),
        (SETTING, {"TWISTSERVE_HOST": "127.0.0.1"}, None),
        (SETTING, {"TWISTSERVE_ENDPOINT": "tls:/certificates:port=443"}, None),
        (SETTING, {}, {}),
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_SCHEME", "https")}, {}, None),
    ],
)
def test_deployments_that_may_be_as_they_should(settings: Any, environ: dict[str, str], server: Any) -> None:
    """On a developer's machine, on a port for this machine alone, with TLS, or in the server, which knows."""
    assert found(scheme_can_be_known_by_default, settings, environ, server) == []


def test_a_field_that_everybody_may_send() -> None:
    """It is named for check --deploy; the field that is removed from strangers is not."""
    [text] = told(found(scheme_cannot_be_forged, {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_SCHEME", "https")}))
    assert text.startswith("(twistserve.W007) SECURE_PROXY_SSL_HEADER names 'HTTP_X_SCHEME', which")
    assert "HINT: Have the proxy send X-Forwarded-Proto" in text
    assert found(scheme_cannot_be_forged, SETTING) == []
    assert found(scheme_cannot_be_forged, {}) == []
