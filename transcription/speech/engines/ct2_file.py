"""Where the tensors lie in a Whisper model that was converted to CTranslate2.

`model.bin` is a flat list of named tensors; its writer is `ModelSpec._serialize` in
ctranslate2/specs/model_spec.py, the names come from ctranslate2/specs/whisper_spec.py. All numbers
are little-endian:

    version u32, spec name, revision u32, number of variables u32,
    for each variable: name, rank u8, dimensions u32 each, type u8, number of bytes u32, data,
    number of aliases u32, for each alias: name, name of the variable it stands for

where a string is its length with the closing zero as u16, its bytes, a zero.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from transcription.speech.engines.base import SpeechError

# In this order in CTranslate2's DataType.
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_VERSIONS = range(4, 7)


@dataclass(frozen=True, slots=True)
class Variable:
    """Where a tensor lies in `model.bin`: `offset` and `n_bytes` are in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    n_bytes: int


def is_complete(path: Path) -> bool:
    """Whether `path` is a whole `model.bin`; reads the headers alone, not the weights."""
    try:
        read_index(path)
    except (SpeechError, OSError):
        return False
    return True


def read_index(path: Path) -> list[Variable]:
    """The variables of a `model.bin`. Raises SpeechError if it is cut off or of another kind."""
    # Unbuffered, because each header is followed by a seek that would throw a buffer away.
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(0)
        try:
            return list(_read_variables(file, size))
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise SpeechError(f"{path} is cut off or is not a CTranslate2 model.") from error


def _read_variables(file: BinaryIO, size: int) -> Iterator[Variable]:
    def number(code: str) -> int:
        layout = struct.Struct(f"<{code}")
        return int(layout.unpack(file.read(layout.size))[0])

    def string() -> str:
        raw = file.read(number("H"))
        return raw[:-1].decode()

    version = number("I")
    if version not in _VERSIONS:
        raise SpeechError(f"CTranslate2 model format {version} is not supported.")
    if (spec := string()) != "WhisperSpec":
        raise SpeechError(f"A Whisper model is needed, this is a {spec}.")
    number("I")  # the spec's revision
    for _ in range(number("I")):
        name = string()
        shape = tuple(number("I") for _ in range(number("B")))
        dtype = TYPES[number("B")]
        n_bytes = number("I")
        offset = file.tell()
        if offset + n_bytes > size:
            raise struct.error
        file.seek(n_bytes, 1)
        yield Variable(name, shape, dtype, offset, n_bytes)
    for _ in range(number("I")):
        string()
        string()
