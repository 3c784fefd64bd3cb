"""An OpenID Connect provider in a process of its own."""

import subprocess
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from tests.servers import START_SECONDS, free_port

CLIENT_ID, CLIENT_SECRET = "transcriber", "a secret of the client"


class Provider:
    """Knows whom it is told of; signs in whoever it is asked for, without a password."""

    def __init__(self) -> None:
        self.issuer = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> "Provider":
        port = str(urlsplit(self.issuer).port)
        command = [sys.executable, "-m", "oidc_provider_mock", "--port", port]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The provider did not start: {' '.join(command)}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def know(self, subject: str, **claims: Any) -> None:
        """Know a person, with these claims."""
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()

    def sign_in(self, address: str, subject: str) -> str:
        """Sign a person in where a service sent a browser; returns the address it is sent back to."""
        answer = httpx.post(address, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def deny(self, address: str) -> str:
        """Press "Deny" instead. This provider forgets to repeat `state`, which OAuth 2.0 demands of it."""
        [state] = parse_qs(urlsplit(address).query)["state"]
        back = httpx.post(address, data={"action": "deny"}).headers["Location"]
        return f"{back}&{urlencode({'state': state})}"

    def _answers(self) -> bool:
        try:
            address = f"{self.issuer}/.well-known/openid-configuration"
            return httpx.get(address, timeout=1).is_success
        except httpx.TransportError:
            return False
