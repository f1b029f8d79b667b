"""The presets against the released key list and the paper's sizes, written out here and nowhere derived."""

import json

import pytest
import torch
from typer.testing import CliRunner

from video_salmonn.checkpoints.released import names
from video_salmonn.cli.main import app
from video_salmonn.connector import Level
from video_salmonn.errors import CheckpointError
from video_salmonn.model.lengths import media_tokens
from video_salmonn.model.lora import LoraSettings
from video_salmonn.model.presets import preset
from video_salmonn.resources.cost import build_on_meta, parameters

# The released 13B checkpoint: name -> shape, and what this package calls it.
TOP = [
    ("speech_pre_qformer_proj.weight", (768, 1280), "speech_projection.weight"),
    ("speech_pre_qformer_proj.bias", (768,), "speech_projection.bias"),
    ("beats_pre_qformer_proj.weight", (768, 768), "audio_projection.weight"),
    ("beats_pre_qformer_proj.bias", (768,), "audio_projection.bias"),
    ("ln_video.weight", (2304,), "input_norm.weight"),
    ("ln_video.bias", (2304,), "input_norm.bias"),
    ("video_frame_position_embedding.weight", (4096, 2304), "positions"),
    ("low_query_tokens", (1, 3, 768), "level_queries.0"),
    ("video_query_tokens", (1, 30, 768), "level_queries.1"),
    ("llama_proj.weight", (5120, 1536), "llm_projection.weight"),
    ("llama_proj.bias", (5120,), "llm_projection.bias"),
]
LAYER = [
    ("attention.self.query", (768, 768), "self_attention.query"),
    ("attention.self.key", (768, 768), "self_attention.key"),
    ("attention.self.value", (768, 768), "self_attention.value"),
    ("attention.output.dense", (768, 768), "self_attention.output.dense"),
    ("attention.output.LayerNorm", (768,), "self_attention.output.norm"),
    ("crossattention.self.query", (768, 768), "cross_attention.query"),
    ("crossattention.self.key", (768, 2304), "cross_attention.key"),
    ("crossattention.self.value", (768, 2304), "cross_attention.value"),
    ("crossattention.output.dense", (768, 768), "cross_attention.output.dense"),
    ("crossattention.output.LayerNorm", (768,), "cross_attention.output.norm"),
    ("encoder_causal_attention.self.query", (2304, 2304), "block_attention.query"),
    ("encoder_causal_attention.self.key", (2304, 2304), "block_attention.key"),
    ("encoder_causal_attention.self.value", (2304, 2304), "block_attention.value"),
    ("encoder_causal_attention.output.dense", (2304, 2304), "block_attention.output.dense"),
    ("encoder_causal_attention.output.LayerNorm", (2304,), "block_attention.output.norm"),
    ("intermediate_query.dense", (3072, 768), "feed_forward.expand"),
    ("output_query.dense", (768, 3072), "feed_forward.output.dense"),
    ("output_query.LayerNorm", (768,), "feed_forward.output.norm"),
]


def qformer(prefix):
    rows = [(f"{prefix}.bert.embeddings.LayerNorm.{kind}", (768,), f"query_norm.{kind}") for kind in ("weight", "bias")]
    for i in (0, 1):
        for theirs, shape, ours in LAYER:
            for kind in ("weight", "bias"):
                size = shape if kind == "weight" else shape[:1]
                name = f"{prefix}.bert.encoder.layer.{i}.{theirs}.{kind}"
                rows.append((name, size, f"layers.{i}.{ours}.{kind}"))
    return [(theirs, shape, f"qformers.0.{ours}") for theirs, shape, ours in rows]


RELEASED = TOP + qformer("video_Qformer")
LORA = [
    (
        f"llama_model.base_model.model.model.layers.{i}.self_attn.{p}_proj.lora_{side}.default.weight",
        (32, 5120) if side == "A" else (5120, 32),
        f"model.layers.{i}.self_attn.{p}_proj.lora_{side}.default.weight",
    )
    for i in range(40)
    for p in "qkvo"
    for side in "AB"
]


@pytest.fixture(scope="module")
def released():
    return build_on_meta(preset("released-13b"))


def test_counts_of_the_released_list():
    assert len(LORA) == 320
    assert len(qformer("video_Qformer")) == 74
    assert len(RELEASED) + len(LORA) == 405
    assert len(RELEASED) + len(qformer("low_Qformer")) + len(LORA) == 479


def test_the_connector_is_the_released_list_one_to_one(released):
    ours = {name: tuple(tensor.shape) for name, tensor in released.connector.state_dict().items()}
    wanted = {name: shape[1:] if name.startswith("level_queries") else shape for _, shape, name in RELEASED}
    assert ours == wanted


def test_the_adapter_is_the_released_list_one_to_one(released):
    ours = {
        name: tuple(parameter.shape)
        for name, parameter in released.language_model.named_parameters()
        if "lora_" in name
    }
    assert ours == {name: shape for _, shape, name in LORA}


@pytest.mark.parametrize("with_low", [False, True])
def test_placing_a_whole_released_file(released, with_low):
    """Every tensor of the released connector finds its place by name; dead weights are dropped and named."""
    config = released.config.connector_config
    dead = qformer("low_Qformer") if with_low else []
    tensors = {name: torch.empty(shape, device="meta") for name, shape, _ in RELEASED + dead}
    placed = names.place_connector(tensors, config, ("low", "base"))
    names.check_complete(released.connector, placed, "file")
    assert {placed.origin[ours]: ours for ours in placed.state} == {theirs: ours for theirs, _, ours in RELEASED}
    assert set(placed.dropped) == {theirs for theirs, _, _ in dead}


@pytest.mark.parametrize("index", range(len(RELEASED)), ids=[theirs for theirs, _, _ in RELEASED])
def test_nothing_may_be_missing(released, index):
    tensors = {n: torch.empty(s, device="meta") for i, (n, s, _) in enumerate(RELEASED) if i != index}
    placed = names.place_connector(tensors, released.config.connector_config, ("low", "base"))
    with pytest.raises(CheckpointError, match="1 tensor is missing"):
        names.check_complete(released.connector, placed, "file")


def test_buffers_are_let_go_and_strangers_are_not(released):
    config = released.config.connector_config
    buffer = "video_Qformer.bert.embeddings.position_ids"
    assert names.place_connector({buffer: torch.zeros(1)}, config, ("low", "base")).dropped == {
        buffer: "a buffer without learned numbers"
    }
    for stranger in ("video_Qformer.bert.encoder.layer.0.intermediate.dense.weight", "llama_proj", "high_query_tokens"):
        with pytest.raises(CheckpointError, match="no place"):
            names.place_connector({stranger: torch.zeros(1)}, config, ("low", "base"))


def test_parameters_of_the_released_13b(released):
    counts = parameters(released)
    assert counts["joint_qformer"] == 66_118_656  # 66.12 M
    assert counts["connector_trainable"] == 85_029_632  # 85.03 M
    assert counts["lora"] == 52_428_800  # 52.43 M: q, k, v, o of 40 layers at rank 32
    trainable = parameters(released, trainable=True)
    assert trainable["connector_trainable"] == counts["connector_trainable"]
    assert trainable["lora"] == counts["lora"]
    frozen = ("vision", "instruction_qformer", "speech", "audio", "language_model")
    assert [trainable[part] for part in frozen] == [0] * 5
    layer = sum(p.numel() for p in released.connector.qformers[0].layers[0].parameters())
    assert layer == 33_058_560  # 33.06 M
    assert (
        21.2e6 < sum(p.numel() for p in released.connector.qformers[0].layers[0].block_attention.parameters()) < 21.3e6
    )


def test_the_released_behaviour():
    config = preset("released-13b")
    connector = config.connector_config
    assert connector.levels == (Level(1, 3), Level(10, 30))
    assert (connector.share_qformer, connector.mask_direction) == (True, "future")
    assert (connector.attend_padding, connector.trim_padding) == (True, False)
    assert (connector.num_attention_heads, connector.intermediate_size, connector.num_hidden_layers) == (12, 3072, 2)
    assert (connector.layer_norm_eps, connector.input_norm_eps) == (1e-12, 1e-5)
    assert config.lora == LoraSettings(r=32, alpha=32, dropout=0.1, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    assert config.media_config.frame_times == "released"
    assert config.media_config.max_sound_seconds == 30.0
    assert connector.tokens_per_second == 6
    assert [media_tokens(config, seconds) for seconds in (0.3, 23.69, 30, 60)] == [180, 180, 180, 360]
    assert media_tokens(config, 23.69, sound=False) == 150


def test_the_paper_is_causal_and_gives_no_tokens_for_padding():
    config = preset("paper-7b")
    assert config.connector_config.mask_direction == "past"
    assert config.text_config.hidden_size == 4096
    assert media_tokens(config, 25.0) == 150  # the paper's own example


def info(*args):
    return CliRunner().invoke(app, ["info", *args])


def test_info_command_of_the_released_13b():
    result = info("released-13b", "--json")
    assert result.exit_code == 0
    account = json.loads(result.stdout)
    assert account["media_tokens_per_second"] == 6
    assert account["media_tokens"] == 180
    assert account["parameters"]["joint_qformer"] == 66_118_656
    assert account["trainable"]["connector_trainable"] == 85_029_632
    assert account["kv_bytes_per_token"] == 2 * 40 * 5120 * 2
    assert set(account) >= {"parameters", "trainable", "flops", "bytes"}
    # the block attention's Q, K and V are shared by the levels; the plain form takes 413 GFLOP
    assert 270e9 < account["flops"]["connector"] < 280e9


def test_info_of_tiny_is_under_a_million():
    account = json.loads(info("tiny", "--json", "--clip", "4").stdout)
    assert account["parameters"]["total"] < 1_000_000
    assert account["media_tokens"] == 24


def test_info_table():
    result = info("tiny")
    assert result.exit_code == 0
    assert "connector_trainable" in result.stdout


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_info_of_nothing_known(flags):
    result = info("released-14b", *flags)
    assert result.exit_code == 2
    if flags:
        error = json.loads(result.stdout)["error"]
        assert error["type"] == "ConfigError"
        assert "released-13b" in error["remedy"]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"model_type": "llama"}', '{"model_type": "video_salmonn", "prompt": 3}']
)
def test_info_of_a_broken_directory(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    result = info(str(tmp_path), "--json")
    assert result.exit_code == 2, result.output
    error = json.loads(result.stdout)["error"]
    assert "config.json" in error["message"] or error["type"] == "ConfigError"


def test_info_of_a_directory(tmp_path):
    preset("tiny").save_pretrained(tmp_path)
    assert json.loads(info(str(tmp_path), "--json").stdout)["parameters"] == parameters(build_on_meta(preset("tiny")))
