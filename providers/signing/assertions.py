"""Assertions, JWTs that a private key signs (RS256, RFC 7523), which token endpoints take as proof.

`cryptography` signs; it is imported where such an account exists, and nowhere else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping


def assertion(key: str, head: Mapping[str, object], claims: Mapping[str, object]) -> str:
    """Return claims that a private key, PEM, has signed. Blocking. Raises ValueError, TypeError for what is none."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    private = load_pem_private_key(key.encode(), None)
    if not isinstance(private, RSAPrivateKey):
        raise TypeError("no RSA key")
    text = f"{_text({'alg': 'RS256', **head})}.{_text(claims)}"
    return f"{text}.{packed(private.sign(text.encode(), PKCS1v15(), SHA256()))}"


def thumbprint(certificate: str) -> str:
    """Return the SHA-256 of a certificate, PEM, as `x5t#S256` has it. Raises ValueError for what is none."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    return packed(load_pem_x509_certificate(certificate.encode()).fingerprint(SHA256()))


def packed(data: bytes) -> str:
    """Return bytes in URL-safe Base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _text(value: Mapping[str, object]) -> str:
    return packed(json.dumps(value, separators=(",", ":")).encode())
