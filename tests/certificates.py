"""A certificate for this machine, from an authority of its own with an intermediate one, as real ones have."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Certificate:
    authority: Path
    """What a client has to trust."""
    chain: Path
    """The certificate, and behind it the intermediate one."""
    key: Path


def make(folder: Path) -> Certificate:
    root_key, middle_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = _sign("root", root_key, issuer="root", issuer_key=root_key, is_authority=True)
    middle = _sign("middle", middle_key, issuer="root", issuer_key=root_key, is_authority=True)
    own = _sign("localhost", own_key, issuer="middle", issuer_key=middle_key, is_authority=False)
    made = Certificate(folder / "root.pem", folder / "full:chain.pem", folder / "key.pem")
    made.authority.write_bytes(root.public_bytes(Encoding.PEM))
    made.chain.write_bytes(own.public_bytes(Encoding.PEM) + middle.public_bytes(Encoding.PEM))
    made.key.write_bytes(own_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _sign(
    name: str, key: Key, *, issuer: str, issuer_key: Key, is_authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    local = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(local), critical=False)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
