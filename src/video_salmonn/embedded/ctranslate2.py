"""Read CTranslate2 model files and turn a Whisper stored in one into Hugging Face weights.

Decisions in this file:

- The binary format is small and stable (length-prefixed names, shapes, raw arrays), so it is read here with ``struct``
  and numpy; the ``ctranslate2`` package would bring a 40 MB inference engine only to hand back the same arrays.
- Attention projections are stored fused (q, k and v as one matrix, cross-attention k and v as another) and are split.
- float32, float16 and row-wise int8 weights are understood; anything else is refused by name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from video_salmonn.errors import CheckpointError
from video_salmonn.wording import counted

_DTYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_VERSION = 6


@dataclass(frozen=True)
class CTranslate2Model:
    """A parsed model file.

    Attributes:
        specification: the model class the file declares, for example ``WhisperSpec``.
        revision: that class's revision.
        variables: name -> array; aliases are resolved.
    """

    specification: str
    revision: int
    variables: dict[str, np.ndarray]


class _Cursor:
    """Sequential reads with one clear error when the bytes run out."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise CheckpointError(
                f"{self.name}: truncated: {counted(count, 'byte')} wanted at offset {self.at}, the file has "
                f"{len(self.data)}",
                remedy="install the package again: video-salmonn setup",
            )
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def text(self) -> str:
        raw = self.take(self.number("H"))  # the length counts a closing NUL
        if not raw.endswith(b"\0"):
            raise CheckpointError(f"{self.name}: not a CTranslate2 model file (bad string at offset {self.at})")
        return raw[:-1].decode("utf-8", errors="replace")


def read_ctranslate2(data: bytes, name: str) -> CTranslate2Model:
    """Parse the bytes of a CTranslate2 ``model.bin``, binary version 6.

    Args:
        data: the whole file (parts already joined).
        name: what error messages call it.

    Raises:
        CheckpointError: wrong version, truncated, unknown array type, trailing bytes.
    """
    cursor = _Cursor(data, name)
    version = cursor.number("I")
    if version != _VERSION:
        raise CheckpointError(f"{name}: CTranslate2 binary version {_VERSION} expected, found {version}")
    specification, revision = cursor.text(), cursor.number("I")
    variables: dict[str, np.ndarray] = {}
    for _ in range(cursor.number("I")):
        key = cursor.text()
        shape = [cursor.number("I") for _ in range(cursor.number("B"))]
        kind, size = cursor.number("B"), cursor.number("I")
        if kind not in _DTYPES:
            raise CheckpointError(f"{name}: {key} has array type {kind}, which this reader does not know")
        array = np.frombuffer(cursor.take(size), dtype=_DTYPES[kind])
        if array.size != int(np.prod(shape, dtype=np.int64)):
            raise CheckpointError(f"{name}: {key} has {counted(array.size, 'value')} for shape {shape}")
        variables[key] = array.reshape(shape)
    for _ in range(cursor.number("I")):
        alias, target = cursor.text(), cursor.text()
        if target not in variables:
            raise CheckpointError(f"{name}: alias {alias} points to {target}, which is not in the file")
        variables[alias] = variables[target]
    if cursor.at != len(data):
        raise CheckpointError(f"{name}: {counted(len(data) - cursor.at, 'byte')} after the last table")
    return CTranslate2Model(specification, revision, variables)


class _Whisper:
    """Builds one Hugging Face state dict out of CTranslate2 variables."""

    def __init__(self, variables: dict[str, np.ndarray], name: str) -> None:
        self.variables, self.name = variables, name
        self.out: dict[str, torch.Tensor] = {}

    def tensor(self, key: str) -> torch.Tensor:
        if key not in self.variables:
            raise CheckpointError(f"{self.name}: no tensor {key}; not a Whisper model of the known layout")
        array = self.variables[key].astype(np.float32)
        if self.variables[key].dtype == np.int8:  # quantised by rows: weight = integer / scale
            array = array / self.variables[key + "_scale"].astype(np.float32)[:, None]
        return torch.from_numpy(array)

    def linear(self, target: str, source: str) -> None:
        self.out[f"{target}.weight"] = self.tensor(f"{source}/weight")
        self.out[f"{target}.bias"] = self.tensor(f"{source}/bias")

    def norm(self, target: str, source: str) -> None:
        self.out[f"{target}.weight"] = self.tensor(f"{source}/gamma")
        self.out[f"{target}.bias"] = self.tensor(f"{source}/beta")

    def fused(self, target: str, source: str, names: str) -> None:
        """Split a fused projection by rows into ``{q,k,v}_proj``; Whisper's k has no bias (stored as zeros)."""
        weights = self.tensor(f"{source}/weight").chunk(len(names))
        biases = self.tensor(f"{source}/bias").chunk(len(names))
        for letter, weight, bias in zip(names, weights, biases):
            self.out[f"{target}.{letter}_proj.weight"] = weight.clone()
            if letter != "k":
                self.out[f"{target}.{letter}_proj.bias"] = bias.clone()

    def layers(self, side: str) -> int:
        marks = {key.split("/")[1] for key in self.variables if key.startswith(f"{side}/layer_")}
        return sum(mark.removeprefix("layer_").isdigit() for mark in marks)

    def stack(self, side: str) -> None:
        for index in range(self.layers(side)):
            source, target = f"{side}/layer_{index}", f"model.{side}.layers.{index}"
            self.norm(f"{target}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            self.fused(f"{target}.self_attn", f"{source}/self_attention/linear_0", "qkv")
            self.linear(f"{target}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            if side == "decoder":
                self.norm(f"{target}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
                self.linear(f"{target}.encoder_attn.q_proj", f"{source}/attention/linear_0")
                self.fused(f"{target}.encoder_attn", f"{source}/attention/linear_1", "kv")
                self.linear(f"{target}.encoder_attn.out_proj", f"{source}/attention/linear_2")
            self.norm(f"{target}.final_layer_norm", f"{source}/ffn/layer_norm")
            self.linear(f"{target}.fc1", f"{source}/ffn/linear_0")
            self.linear(f"{target}.fc2", f"{source}/ffn/linear_1")
        self.norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        self.out[f"model.{side}.embed_positions.weight"] = self.tensor(f"{side}/position_encodings/encodings")


def whisper_state_dict(model: CTranslate2Model, name: str) -> dict[str, torch.Tensor]:
    """Hugging Face ``WhisperForConditionalGeneration`` weights, fp32, without the tied output projection.

    Raises:
        CheckpointError: the file is not a Whisper of the known layout.
    """
    if not model.specification.startswith("Whisper"):
        raise CheckpointError(f"{name}: holds a {model.specification}, a WhisperSpec is needed")
    build = _Whisper(model.variables, name)
    build.linear("model.encoder.conv1", "encoder/conv1")
    build.linear("model.encoder.conv2", "encoder/conv2")
    build.stack("encoder")
    build.stack("decoder")
    build.out["model.decoder.embed_tokens.weight"] = build.tensor("decoder/embeddings/weight")
    return build.out


def whisper_config(model: CTranslate2Model, weights: dict[str, torch.Tensor], special: dict[str, int]) -> Any:
    """The ``WhisperConfig`` that fits the weights; sizes are read off the tensors.

    Args:
        model: the parsed file (for the number of heads).
        weights: what :func:`whisper_state_dict` returned.
        special: ids of ``<|endoftext|>`` and ``<|startoftranscript|>``.
    """
    from transformers import WhisperConfig

    width, mels, _ = weights["model.encoder.conv1.weight"].shape
    heads = int(model.variables["encoder/num_heads"]) if "encoder/num_heads" in model.variables else width // 64
    end, start = special["<|endoftext|>"], special["<|startoftranscript|>"]
    depth = {
        side: 1 + max(int(k.split(".")[3]) for k in weights if k.startswith(f"model.{side}.layers."))
        for side in ("encoder", "decoder")
    }
    return WhisperConfig(
        vocab_size=weights["model.decoder.embed_tokens.weight"].shape[0],
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=depth["encoder"],
        decoder_layers=depth["decoder"],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=weights["model.encoder.layers.0.fc1.weight"].shape[0],
        decoder_ffn_dim=weights["model.decoder.layers.0.fc1.weight"].shape[0],
        max_source_positions=weights["model.encoder.embed_positions.weight"].shape[0],
        max_target_positions=weights["model.decoder.embed_positions.weight"].shape[0],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        tie_word_embeddings=True,
    )
