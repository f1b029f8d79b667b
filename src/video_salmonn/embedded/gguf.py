"""Turn a Llama-family GGUF file into a plain Hugging Face directory (config, tokenizer, safetensors).

Decisions in this file:

- Tensors are read and dequantised with the ``gguf`` package (the format's own reader), because a model that
  transformers loads with ``gguf_file=`` refuses ``save_pretrained`` and would have to be loaded twice. The tokenizer
  does come from transformers, whose converter also carries the chat template over.
- llama.cpp stores q and k with the two halves of every rotary pair interleaved; Hugging Face keeps the halves apart,
  so the rows of both are put back.
- Only ``general.architecture == "llama"`` is understood, which covers SmolLM2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from video_salmonn.errors import CheckpointError, needed

_GLOBAL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _open(path: Path) -> Any:
    with needed(
        "the package 'gguf' is not installed, and the language model is stored in its format",
        remedy="pip install 'video-salmonn[embedded]'",
    ):
        from gguf import GGUFReader
    try:
        return GGUFReader(str(path))
    except (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: not a readable GGUF file ({error})", remedy="install the package again: video-salmonn setup"
        ) from error


def _field(reader: Any, path: Path, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise CheckpointError(f"{path}: no field {key}")
    return field.contents()


def _unpermute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp's rotary order of rows -> Hugging Face's: ``(heads, d/2, 2, width)`` -> ``(heads, 2, d/2, width)``."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).transpose(1, 2).reshape(rows, width)


def _config(reader: Any, path: Path) -> Any:
    from transformers import LlamaConfig

    kind = _field(reader, path, "general.architecture")
    if kind != "llama":
        raise CheckpointError(f"{path}: architecture {kind!r}; this reader knows 'llama' only")
    names = {tensor.name for tensor in reader.tensors}
    return LlamaConfig(
        vocab_size=len(_field(reader, path, "tokenizer.ggml.tokens")),
        hidden_size=_field(reader, path, "llama.embedding_length"),
        intermediate_size=_field(reader, path, "llama.feed_forward_length"),
        num_hidden_layers=_field(reader, path, "llama.block_count"),
        num_attention_heads=_field(reader, path, "llama.attention.head_count"),
        num_key_value_heads=_field(reader, path, "llama.attention.head_count_kv"),
        max_position_embeddings=_field(reader, path, "llama.context_length"),
        rms_norm_eps=_field(reader, path, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": _field(reader, path, "llama.rope.freq_base")},
        bos_token_id=_field(reader, path, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, path, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, path, "tokenizer.ggml.eos_token_id"),
        tie_word_embeddings="output.weight" not in names,
    )


def llama_state_dict(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, dict[str, torch.Tensor]]:
    """``(config, weights)`` of a Llama GGUF, dequantised to ``dtype``, under Hugging Face's names.

    Raises:
        CheckpointError: unreadable or truncated file, another architecture, a tensor without a place.
    """
    reader = _open(path)
    from gguf.quants import dequantize

    config = _config(reader, path)
    weights: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        name, _, kind = tensor.name.rpartition(".")
        if name == "rope_freqs":  # derived from the base, kept by some converters
            continue
        target = _GLOBAL.get(name)
        if target is None and name.startswith("blk."):
            _, layer, part = name.split(".", 2)
            target = f"model.layers.{layer}.{_LAYER[part]}" if part in _LAYER else None
        if target is None or kind != "weight":
            raise CheckpointError(f"{path}: tensor {tensor.name} has no place in a Llama")
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if target.endswith("q_proj"):
            value = _unpermute(value, config.num_attention_heads)
        elif target.endswith("k_proj"):
            value = _unpermute(value, config.num_key_value_heads)
        weights[f"{target}.weight"] = value.to(dtype)
    return config, weights


def convert_llama(source: Path, target: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write ``source`` (GGUF) as a Hugging Face model directory ``target``, which must exist.

    Raises:
        CheckpointError: see :func:`llama_state_dict`; also missing or unexpected tensors.
    """
    from transformers import AutoTokenizer, LlamaForCausalLM

    config, weights = llama_state_dict(source, dtype)
    config.dtype = dtype
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    missing = [key for key in missing if not (key == "lm_head.weight" and config.tie_word_embeddings)]
    if missing or unexpected:
        raise CheckpointError(f"{source}: missing {missing[:3]}, unexpected {unexpected[:3]}")
    model.tie_weights()
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    name_special_tokens(tokenizer, config)
    tokenizer.save_pretrained(target)


def name_special_tokens(tokenizer: Any, config: Any) -> None:
    """Give a tokenizer the special tokens that the file states, from the ``LlamaConfig`` that was read from it.

    transformers 5.17 takes the begin token for the end token, so that answers would be trained without an end, and
    would have none.
    """
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(config.bos_token_id)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(config.eos_token_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
