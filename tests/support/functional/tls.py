"""Clients of TLS endpoints."""

from __future__ import annotations

import http.client
import socket
import ssl

from cryptography import x509

from tests.support.functional.harness import PATIENCE


def connect(port: int, name: str) -> http.client.HTTPSConnection:
    """A connection that asks for a server name and believes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
    connection.sock = context.wrap_socket(_plain(port), server_hostname=name)
    return connection


def _plain(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def served(port: int, name: str) -> int:
    """The serial number of the certificate that is served for a name."""
    connection = connect(port, name)
    try:
        der = connection.sock.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number
    finally:
        connection.close()


def get(port: int, path: str) -> bytes:
    connection = connect(port, "one.example")
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()
