"""Read the index of a Whisper model in CTranslate2's format: names, shapes, types and offsets of its tensors.

`model.bin` is a flat list of named tensors, written by `ModelSpec._serialize` in
ctranslate2/specs/model_spec.py; the names are defined in ctranslate2/specs/whisper_spec.py. All
numbers are little-endian:

    version u32, spec name, revision u32, number of variables u32,
    for each variable: name, rank u8, dimensions u32 each, type u8, number of bytes u32, data,
    number of aliases u32, for each alias: name, name of its variable

A string is its length as u16 (terminating zero included), its bytes, and a zero.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from transcription.speech.engines.base import SpeechError

# In the order of CTranslate2's DataType.
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_VERSIONS = range(4, 7)


@dataclass(frozen=True, slots=True)
class Variable:
    """A tensor in `model.bin`; `offset` and `n_bytes` are in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    n_bytes: int


def is_complete(path: Path) -> bool:
    """Whether `path` is a complete `model.bin`. Reads only the headers, not the weights."""
    try:
        read_index(path)
    except (SpeechError, OSError):
        return False
    return True


def read_index(path: Path) -> list[Variable]:
    """Read the variables of a `model.bin`. Raises SpeechError if it is truncated or not a Whisper model."""
    # Unbuffered, because each header is followed by a seek that would discard the buffer.
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(0)
        try:
            return list(_read_variables(file, size))
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise SpeechError(f"{path} is truncated, or not a CTranslate2 model.") from error


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
        raise SpeechError(f"The model is a {spec}, not a Whisper model.")
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
