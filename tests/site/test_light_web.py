"""The web process stays light."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HEAVY = (
    *("torch", "ctranslate2", "onnxruntime", "pyannote", "whisper", "faster_whisper", "numpy"),
    *("openai", "bm25s", "numba", "sumy", "nltk", "yake"),
)

PROGRAM = f"""
import sys
import transcriber_site.asgi
import transcriber_site.urls
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_the_web_application_imports_no_inference() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
