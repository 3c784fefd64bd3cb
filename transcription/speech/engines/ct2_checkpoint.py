"""Convert a Whisper model from CTranslate2's format (see ct2_file.py) to openai-whisper's."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transcription.speech.engines.base import SpeechError
from transcription.speech.engines.ct2_file import TYPES, read_index

Array = npt.NDArray[Any]

# In the order of ct2_file.TYPES; NumPy has no bfloat16, so that is read as uint16.
_NUMPY_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2", "<u2")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of an openai-whisper `.pt` file: `ModelDimensions` by name, and tensors by name.

    `alignment_heads` are (decoder layer, head) pairs whose attention follows the audio; empty
    if the model's config has none.
    """

    dims: dict[str, int]
    state: dict[str, Array]
    alignment_heads: tuple[tuple[int, int], ...]


def load(folder: Path) -> Checkpoint:
    """Load the model in `folder` (model.bin, config.json). Raises SpeechError."""
    try:
        tensors = read_tensors(folder / "model.bin")
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return Checkpoint(
            dims=_dimensions(tensors),
            state=dict(_openai_state(tensors)),
            alignment_heads=tuple((la, he) for la, he in config.get("alignment_heads") or ()),
        )
    except KeyError as error:
        raise SpeechError(f"{folder} is not a Whisper model: it lacks {error}.") from error
    except (OSError, ValueError) as error:
        raise SpeechError(f"The model in {folder} cannot be read: {error}") from error


def read_tensors(path: Path) -> dict[str, Array]:
    """Read the tensors of `path` by name, as float16 or float32, memory-mapped unless they are quantized."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    raw: dict[str, Array] = {}
    for variable in read_index(path):
        stored = data[variable.offset : variable.offset + variable.n_bytes]
        array = stored.view(_NUMPY_TYPES[TYPES.index(variable.dtype)]).reshape(variable.shape)
        if variable.dtype == "bfloat16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        raw[variable.name] = array
    return {
        name: _dequantize(array, raw.get(f"{name}_scale"))
        for name, array in raw.items()
        if not name.endswith("_scale")
    }


def _dequantize(array: Array, scale: Array | None) -> Array:
    """Dequantize CTranslate2's int8 (one scale per row) or int16 (one scale)."""
    if scale is None:
        return array
    per_row = scale.astype(np.float32).reshape(-1, *[1] * (array.ndim - 1))
    restored: Array = array.astype(np.float32) / per_row
    return restored


def _dimensions(tensors: dict[str, Array]) -> dict[str, int]:
    def n_layers(side: str) -> int:
        first = re.compile(rf"{side}/layer_\d+/ffn/linear_0/bias")
        return sum(first.fullmatch(name) is not None for name in tensors)

    n_state, n_mels = tensors["encoder/conv1/weight"].shape[:2]
    n_vocab, n_text_state = tensors["decoder/embeddings/weight"].shape
    return {
        "n_mels": n_mels,
        "n_audio_ctx": tensors["encoder/position_encodings/encodings"].shape[0],
        "n_audio_state": n_state,
        "n_audio_head": int(tensors["encoder/num_heads"]),
        "n_audio_layer": n_layers("encoder"),
        "n_vocab": n_vocab,
        "n_text_ctx": tensors["decoder/position_encodings/encodings"].shape[0],
        "n_text_state": n_text_state,
        "n_text_head": int(tensors["decoder/num_heads"]),
        "n_text_layer": n_layers("decoder"),
    }


def _openai_state(tensors: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield copies of the tensors under openai-whisper's names."""
    dims = _dimensions(tensors)
    for layer in ("conv1", "conv2"):
        yield f"encoder.{layer}.weight", np.array(tensors[f"encoder/{layer}/weight"])
        yield f"encoder.{layer}.bias", np.array(tensors[f"encoder/{layer}/bias"])
    for side, norm, n_layers in (
        ("encoder", "ln_post", dims["n_audio_layer"]),
        ("decoder", "ln", dims["n_text_layer"]),
    ):
        positions = tensors[f"{side}/position_encodings/encodings"]
        yield f"{side}.positional_embedding", np.array(positions)
        yield from _norm(tensors, f"{side}/layer_norm", f"{side}.{norm}")
        for layer_number in range(n_layers):
            source, target = f"{side}/layer_{layer_number}", f"{side}.blocks.{layer_number}"
            yield from _block(tensors, source, target)
    yield "decoder.token_embedding.weight", np.array(tensors["decoder/embeddings/weight"])


def _block(tensors: dict[str, Array], source: str, target: str) -> Iterator[tuple[str, Array]]:
    attention = f"{target}.attn"
    yield from _linear(
        tensors,
        f"{source}/self_attention/linear_0",
        (f"{attention}.query", f"{attention}.key", f"{attention}.value"),
    )
    yield from _linear(tensors, f"{source}/self_attention/linear_1", (f"{attention}.out",))
    yield from _norm(tensors, f"{source}/self_attention/layer_norm", f"{target}.attn_ln")
    yield from _linear(tensors, f"{source}/ffn/linear_0", (f"{target}.mlp.0",))
    yield from _linear(tensors, f"{source}/ffn/linear_1", (f"{target}.mlp.2",))
    yield from _norm(tensors, f"{source}/ffn/layer_norm", f"{target}.mlp_ln")
    if source.startswith("encoder"):
        return
    cross = f"{target}.cross_attn"
    yield from _linear(tensors, f"{source}/attention/linear_0", (f"{cross}.query",))
    yield from _linear(tensors, f"{source}/attention/linear_1", (f"{cross}.key", f"{cross}.value"))
    yield from _linear(tensors, f"{source}/attention/linear_2", (f"{cross}.out",))
    yield from _norm(tensors, f"{source}/attention/layer_norm", f"{target}.cross_attn_ln")


def _linear(
    tensors: dict[str, Array], source: str, targets: tuple[str, ...]
) -> Iterator[tuple[str, Array]]:
    """Yield a linear layer, or several that CTranslate2 concatenated."""
    weights = np.split(tensors[f"{source}/weight"], len(targets))
    biases = np.split(tensors[f"{source}/bias"], len(targets))
    for target, weight, bias in zip(targets, weights, biases, strict=True):
        yield f"{target}.weight", np.array(weight)
        # Whisper's key projections have no bias; CTranslate2 adds zeros to concatenate them with the others.
        if not target.endswith(".key"):
            yield f"{target}.bias", np.array(bias)


def _norm(tensors: dict[str, Array], source: str, target: str) -> Iterator[tuple[str, Array]]:
    yield f"{target}.weight", np.array(tensors[f"{source}/gamma"])
    yield f"{target}.bias", np.array(tensors[f"{source}/beta"])
