"""Certificates that sign themselves, and one that an authority has signed."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Key = ec.EllipticCurvePrivateKey
PEM = serialization.Encoding.PEM


def write_certificate(path: Path, name: str) -> int:
    """Write a key and a certificate for a name into one PEM file; the certificate's serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, key, name, key)
    path.write_bytes(_private(key) + certificate.public_bytes(PEM))
    return certificate.serial_number


def write_chain(path: Path, name: str) -> int:
    """The same with a certificate that an authority has signed, whose own certificate follows it."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, key, "An authority", authority)
    root = _certificate("An authority", authority, "An authority", authority)
    path.write_bytes(_private(key) + certificate.public_bytes(PEM) + root.public_bytes(PEM))
    return certificate.serial_number


def _private(key: Key) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _certificate(name: str, key: Key, issuer: str, signer: Key) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
