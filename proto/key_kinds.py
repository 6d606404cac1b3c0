"""The kind of a key in words, for messages that refuse a key of another kind than a bootloader's."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519


def describe(key: Any) -> str:
    """Return the kind of a public or private key of ``cryptography``, such as "RSA-2048" or "ECDSA (secp256r1)"."""
    match key:
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey():
            return f"RSA-{key.key_size}"
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
            return f"ECDSA ({key.curve.name})"
        case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
            return "Ed25519"
        case x25519.X25519PublicKey() | x25519.X25519PrivateKey():
            return "X25519"
        case ed448.Ed448PublicKey() | ed448.Ed448PrivateKey():
            return "Ed448"
        case x448.X448PublicKey() | x448.X448PrivateKey():
            return "X448"
    return type(key).__name__
