"""TLS spoken by the web process itself: `serve --certificate F --key F`."""

import re
import ssl
from pathlib import Path

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


class CertificateError(Exception):
    """The files are no certificate and its key."""


def endpoint(host: str, port: int, *, certificate: Path, key: Path, folder: Path) -> str:
    """Twisted's description of an encrypted endpoint, as daphne's `--endpoint` takes it.

    Twisted sends the first certificate of a file alone. The intermediate ones of its chain, which certificate
    authorities put behind it, are copied to a file in `folder`. Raises CertificateError.
    """
    _check(certificate, key)
    parts = {
        "port": str(port),
        "interface": host.strip("[]"),
        "privateKey": str(key.absolute()),
        "certKey": str(certificate.absolute()),
    }
    if chain := _CERTIFICATE.findall(certificate.read_text())[1:]:
        file = folder / "certificate-chain.pem"
        file.write_text("".join(chain))
        parts["extraCertChain"] = str(file)
    return "ssl:" + ":".join(f"{name}={_quoted(value)}" for name, value in parts.items())


def _check(certificate: Path, key: Path) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise CertificateError(
            f"{certificate} and {key} are not a certificate and its key, both PEM, the key without a password: "
            f"{error.reason or error}"
        ) from error
    except OSError as error:
        raise CertificateError(
            f"{certificate} or {key} cannot be read: {error.strerror or error}"
        ) from error


def _quoted(value: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", value)
