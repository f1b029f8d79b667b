"""The readers of foreign weight files, on small files written here: good ones, and every kind of damage."""

import struct
import zipfile

import numpy as np
import pytest
import torch

from video_salmonn.embedded.ctranslate2 import read_ctranslate2, whisper_config, whisper_state_dict
from video_salmonn.errors import CheckpointError


def text(value):
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def ctranslate2_bytes(variables, aliases=(), specification="WhisperSpec", version=6):
    kinds = {"float32": 0, "int8": 1, "float16": 4}
    out = struct.pack("<I", version) + text(specification) + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        out += text(name) + struct.pack("<B", array.ndim)
        out += b"".join(struct.pack("<I", size) for size in array.shape)
        out += struct.pack("<BI", kinds[str(array.dtype)], array.nbytes) + array.tobytes()
    return out + struct.pack("<I", len(aliases)) + b"".join(text(a) + text(b) for a, b in aliases)


def whisper_variables(width=8, heads=2, mels=4, vocabulary=11, dtype=np.float16):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    out = {"encoder/num_heads": np.array(heads, np.int8)}

    def linear(name, rows, columns):
        out[f"{name}/weight"], out[f"{name}/bias"] = draw(rows, columns), draw(rows)

    def norm(name):
        out[f"{name}/gamma"], out[f"{name}/beta"] = draw(width), draw(width)

    out["encoder/conv1/weight"], out["encoder/conv1/bias"] = draw(width, mels, 3), draw(width)
    out["encoder/conv2/weight"], out["encoder/conv2/bias"] = draw(width, width, 3), draw(width)
    out["decoder/embeddings/weight"] = draw(vocabulary, width)
    for side, length in (("encoder", 10), ("decoder", 6)):
        norm(f"{side}/layer_norm")
        out[f"{side}/position_encodings/encodings"] = draw(length, width)
        base = f"{side}/layer_0"
        norm(f"{base}/self_attention/layer_norm")
        linear(f"{base}/self_attention/linear_0", 3 * width, width)
        linear(f"{base}/self_attention/linear_1", width, width)
        norm(f"{base}/ffn/layer_norm")
        linear(f"{base}/ffn/linear_0", 4 * width, width)
        linear(f"{base}/ffn/linear_1", width, 4 * width)
    norm("decoder/layer_0/attention/layer_norm")
    linear("decoder/layer_0/attention/linear_0", width, width)
    linear("decoder/layer_0/attention/linear_1", 2 * width, width)
    linear("decoder/layer_0/attention/linear_2", width, width)
    return out


def test_ctranslate2_arrays_and_aliases_come_back():
    variables = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int8)}
    model = read_ctranslate2(ctranslate2_bytes(variables, aliases=[("c", "a")]), "small.bin")
    assert (model.specification, model.revision) == ("WhisperSpec", 3)
    np.testing.assert_array_equal(model.variables["c"], variables["a"])
    assert model.variables["b"].shape == () and int(model.variables["b"]) == 3


def test_ctranslate2_whisper_fits_transformers_and_splits_fused_projections():
    from transformers import WhisperForConditionalGeneration

    variables = whisper_variables()
    model = read_ctranslate2(ctranslate2_bytes(variables), "small.bin")
    weights = whisper_state_dict(model, "small.bin")
    config = whisper_config(model, weights, {"<|endoftext|>": 1, "<|startoftranscript|>": 2})
    assert (config.d_model, config.encoder_attention_heads, config.max_source_positions) == (8, 2, 10)
    missing, unexpected = WhisperForConditionalGeneration(config).load_state_dict(weights, strict=False)
    assert missing == ["proj_out.weight"] and not unexpected
    fused = torch.from_numpy(variables["encoder/layer_0/self_attention/linear_0/weight"].astype(np.float32))
    torch.testing.assert_close(weights["model.encoder.layers.0.self_attn.v_proj.weight"], fused[16:])
    assert "model.encoder.layers.0.self_attn.k_proj.bias" not in weights


def test_ctranslate2_int8_rows_are_scaled_back():
    variables = whisper_variables(dtype=np.float32)
    key = "encoder/layer_0/ffn/linear_0/weight"
    exact = variables[key]
    scale = (127 / np.abs(exact).max(1)).astype(np.float32)
    variables[key], variables[key + "_scale"] = np.round(exact * scale[:, None]).astype(np.int8), scale
    weights = whisper_state_dict(read_ctranslate2(ctranslate2_bytes(variables), "small.bin"), "small.bin")
    np.testing.assert_allclose(weights["model.encoder.layers.0.fc1.weight"].numpy(), exact, atol=0.02)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"", "truncated"),
        (lambda data: struct.pack("<I", 5) + data[4:], "version 6 expected, found 5"),
        (lambda data: b"GGUF" + data[4:], "version 6 expected"),
        (lambda data: data + b"\0\0", "2 bytes after"),
    ],
)
def test_ctranslate2_fails(damage, message):
    data = ctranslate2_bytes({"a": np.zeros((2, 3), np.float32)})
    with pytest.raises(CheckpointError, match=message):
        read_ctranslate2(damage(data), "small.bin")


def test_ctranslate2_other_model_fails():
    model = read_ctranslate2(ctranslate2_bytes({}, specification="TransformerSpec"), "small.bin")
    with pytest.raises(CheckpointError, match="TransformerSpec"):
        whisper_state_dict(model, "small.bin")


gguf = pytest.importorskip("gguf")


def write_gguf(path, architecture="llama", drop=(), quantise=False):
    """A one-layer Llama of width 32 with four query heads and two key heads; returns its Hugging Face weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    )
    model = LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(40)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    for key, value in model.state_dict().items():
        if key == "lm_head.weight":
            continue
        name = names.get_name(key, try_suffixes=(".weight",))
        if name in drop:
            continue
        array = value
        for part, heads in (("q_proj", 4), ("k_proj", 2)):
            if part in key:  # the order llama.cpp's converter writes
                array = value.reshape(heads, 2, -1, 32).transpose(1, 2).reshape(value.shape)
        array = array.numpy()
        if quantise and array.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("quantise", [False, True])
def test_gguf_gives_the_same_network(tmp_path, quantise):
    from transformers import LlamaForCausalLM

    from video_salmonn.embedded.gguf import llama_state_dict

    wanted = write_gguf(tmp_path / "small.gguf", quantise=quantise)
    config, weights = llama_state_dict(tmp_path / "small.gguf")
    found = LlamaForCausalLM(config).eval()
    missing, unexpected = found.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected
    found.tie_weights()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        difference = (found(tokens).logits - wanted(tokens).logits).abs().max()
    assert difference < (0.02 if quantise else 1e-5)


def test_special_tokens_are_those_of_the_file(tmp_path):
    """transformers 5.17 takes the begin token for the end token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from video_salmonn.embedded.gguf import llama_state_dict, name_special_tokens

    path = tmp_path / "small.gguf"
    write_gguf(path)
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(40)}, unk_token="t0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="t1", eos_token="t1")
    name_special_tokens(tokenizer, llama_state_dict(path)[0])
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("t1", "t2", "t2")


def test_gguf_fails(tmp_path):
    from video_salmonn.embedded.gguf import convert_llama, llama_state_dict

    path = tmp_path / "small.gguf"
    write_gguf(path)
    whole = path.read_bytes()
    for damaged in (b"", b"not a gguf file at all" * 20, whole[:300], whole[: len(whole) - 4000]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"small\.gguf"):
            llama_state_dict(path)
    write_gguf(path, architecture="gpt2")
    with pytest.raises(CheckpointError, match="gpt2"):
        llama_state_dict(path)
    write_gguf(path, drop=("blk.0.ffn_up.weight",))
    with pytest.raises(CheckpointError, match="up_proj"):
        convert_llama(path, tmp_path)


def test_onnx_fails(tmp_path):
    onnx = pytest.importorskip("onnx")
    from video_salmonn.embedded.onnx import yamnet_state_dict

    path = tmp_path / "net.onnx"
    path.write_bytes(b"\xff\xff no protobuf")
    with pytest.raises(CheckpointError, match=r"net\.onnx"):
        yamnet_state_dict(path)
    weight = onnx.numpy_helper.from_array(np.zeros((32, 1, 5, 5), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2])
    value = [onnx.helper.make_tensor_value_info(name, 1, None) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:], [weight])), path)
    with pytest.raises(CheckpointError, match="1 convolution, YAMNet has 27"):
        yamnet_state_dict(path)
    archive = tmp_path / "net.onnx.zip"
    archive.write_bytes(b"PK not a zip")
    with pytest.raises(CheckpointError, match="zip"):
        yamnet_state_dict(archive)
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("readme.txt", "nothing here")
    with pytest.raises(CheckpointError, match=r"one \.onnx file"):
        yamnet_state_dict(archive)
