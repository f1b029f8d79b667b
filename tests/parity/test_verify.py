"""`video-salmonn verify`: the golden files pass, and every weight that matters is seen to matter."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from video_salmonn.checkpoints.golden import read_golden, verify, verify_file
from video_salmonn.cli.main import app
from video_salmonn.errors import CheckpointError

RELEASED = "connector_released_layout"
SEPARATE = "connector_separate_qformers"
LAYER = "video_Qformer.bert.encoder.layer.1"


def rewrite(path, target, change, **metadata):
    """Copy a golden file with its tensors changed by ``change(tensors)``."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, target, {**read_golden(path).metadata, **metadata})
    return target


def test_every_golden_file_passes_in_full(golden):
    checks = verify(golden)
    assert {check.file for check in checks} == {path.name for path in golden.glob("*.safetensors")}
    assert len({check.file for check in checks}) == 11
    assert len(checks) == 9 * 5 + 2 + 3
    assert all(check.passed for check in checks), [check for check in checks if not check.passed]
    assert max(check.max_abs_diff for check in checks) <= 1e-4


# One entry for every kind of tensor the released layouts hold.
USED = {
    RELEASED: [
        "speech_pre_qformer_proj.weight",
        "speech_pre_qformer_proj.bias",
        "beats_pre_qformer_proj.weight",
        "beats_pre_qformer_proj.bias",
        "ln_video.weight",
        "ln_video.bias",
        "video_frame_position_embedding.weight",
        "video_query_tokens",
        "low_query_tokens",
        "llama_proj.weight",
        "llama_proj.bias",
        "video_Qformer.bert.embeddings.LayerNorm.weight",
        "video_Qformer.bert.embeddings.LayerNorm.bias",
        *[
            f"{LAYER}.{part}.{kind}"
            for part in (
                "attention.self.query",
                "attention.self.value",
                "attention.output.dense",
                "attention.output.LayerNorm",
                "crossattention.self.query",
                "crossattention.self.value",
                "crossattention.output.dense",
                "crossattention.output.LayerNorm",
                "encoder_causal_attention.self.query",
                "encoder_causal_attention.self.value",
                "encoder_causal_attention.output.dense",
                "encoder_causal_attention.output.LayerNorm",
                "intermediate_query.dense",
                "output_query.dense",
                "output_query.LayerNorm",
            )
            for kind in ("weight", "bias")
        ],
        f"{LAYER}.attention.self.key.weight",
        f"{LAYER}.crossattention.self.key.weight",
        f"{LAYER}.encoder_causal_attention.self.key.weight",
        "video_Qformer.bert.encoder.layer.0.encoder_causal_attention.output.dense.weight",
    ],
    SEPARATE: [
        "low_Qformer.bert.embeddings.LayerNorm.weight",
        "low_Qformer.bert.encoder.layer.0.encoder_causal_attention.self.value.weight",
        "low_Qformer.bert.encoder.layer.1.crossattention.self.value.weight",
        "video_Qformer.bert.encoder.layer.1.output_query.dense.weight",
    ],
    "connector_three_resolutions": ["low_query_tokens", "video_query_tokens", "high_query_tokens"],
    "beats_encoder": [
        "patch_embedding.weight",
        "layer_norm.weight",
        "post_extract_proj.weight",
        "encoder.pos_conv.0.weight_g",
        "encoder.pos_conv.0.weight_v",
        "encoder.pos_conv.0.bias",
        "encoder.layer_norm.bias",
        "encoder.layers.0.self_attn.relative_attention_bias.weight",
        "encoder.layers.1.self_attn.grep_linear.weight",
        "encoder.layers.1.self_attn.grep_linear.bias",
        "encoder.layers.1.self_attn.grep_a",
        "encoder.layers.1.self_attn.q_proj.weight",
        "encoder.layers.1.self_attn.k_proj.weight",
        "encoder.layers.1.self_attn.v_proj.weight",
        "encoder.layers.1.self_attn.out_proj.bias",
        "encoder.layers.1.self_attn_layer_norm.weight",
        "encoder.layers.0.fc1.weight",
        "encoder.layers.0.fc2.bias",
        "encoder.layers.0.final_layer_norm.weight",
    ],
    "visual_tower": [
        "visual_encoder.cls_token",
        "visual_encoder.pos_embed",
        "visual_encoder.patch_embed.proj.weight",
        "visual_encoder.blocks.1.attn.qkv.weight",
        "visual_encoder.blocks.1.attn.q_bias",
        "visual_encoder.blocks.1.attn.v_bias",
        "visual_encoder.blocks.1.attn.proj.weight",
        "visual_encoder.blocks.2.norm1.weight",
        "visual_encoder.blocks.2.mlp.fc1.weight",
        "ln_vision.weight",
        "query_tokens",
        "Qformer.bert.embeddings.word_embeddings.weight",
        "Qformer.bert.embeddings.position_embeddings.weight",
        "Qformer.bert.embeddings.LayerNorm.weight",
        "Qformer.bert.encoder.layer.2.crossattention.self.key.weight",
        "Qformer.bert.encoder.layer.1.attention.self.value.weight",
        "Qformer.bert.encoder.layer.1.intermediate.dense.weight",
        "Qformer.bert.encoder.layer.1.output.dense.weight",
        "Qformer.bert.encoder.layer.1.intermediate_query.dense.weight",
        "Qformer.bert.encoder.layer.1.output_query.dense.weight",
    ],
}


@pytest.mark.parametrize(("name", "tensor"), [(name, tensor) for name, tensors in USED.items() for tensor in tensors])
def test_a_changed_used_weight_fails(golden, tmp_path, name, tensor):
    generator = torch.Generator().manual_seed(1)

    def change(tensors):
        noise = 0.05 * torch.randn(tensors[f"weights.{tensor}"].shape, generator=generator)
        copies = [tensor]
        if tensor.endswith("relative_attention_bias.weight"):  # stored once a layer, one table for all
            copies.append(tensor.replace("layers.0", "layers.1"))
        for copy in copies:
            tensors[f"weights.{copy}"] = tensors[f"weights.{copy}"] + noise

    path = rewrite(golden / f"{name}.safetensors", tmp_path / "changed.safetensors", change)
    assert not all(check.passed for check in verify_file(path))


def test_a_single_changed_number_fails(golden, tmp_path):
    def change(tensors):
        tensors["weights.llama_proj.weight"][3, 40] += 0.01

    path = rewrite(golden / f"{RELEASED}.safetensors", tmp_path / "changed.safetensors", change)
    assert [check.output for check in verify_file(path) if not check.passed] == ["tokens"]


def test_the_columns_of_the_projection_belong_to_fine_then_coarse(golden, tmp_path):
    def change(tensors):
        key = "weights.llama_proj.weight"
        half = tensors[key].shape[1] // 2
        tensors[key] = torch.cat([tensors[key][:, half:], tensors[key][:, :half]], dim=1)

    path = rewrite(golden / f"{RELEASED}.safetensors", tmp_path / "changed.safetensors", change)
    assert not all(check.passed for check in verify_file(path))


def test_dead_weights_do_not_matter(golden, tmp_path):
    """The shared layout stores low_Qformer and never uses it; rows of the position table past the window are unread."""

    def change(tensors):
        dead = [key for key in tensors if key.startswith("weights.low_Qformer.")]
        assert len(dead) == 74
        for key in dead:
            tensors[key] += 1.0
        tensors["weights.video_frame_position_embedding.weight"][320:] += 1.0

    path = rewrite(golden / f"{RELEASED}.safetensors", tmp_path / "changed.safetensors", change)
    assert all(check.passed for check in verify_file(path))


@pytest.mark.parametrize("other", ["past", "none", "future"])
def test_each_direction_fails_under_another(golden, other):
    for path in sorted(golden.glob("connector_*.safetensors")):
        own = read_golden(path).metadata["mask_direction"]
        if own == "none":  # this layout has no block attention, whatever the direction
            continue
        failed = [check for check in verify_file(path, mask_direction=other) if not check.passed]
        if other == own:
            assert not failed, path.name
        else:
            assert {check.output for check in failed} >= {"fused", "tokens"}, path.name
            assert max(check.max_abs_diff for check in failed) > 1e-2, path.name


def test_the_metadata_decides_the_direction(golden, tmp_path):
    source = golden / "connector_paper_causal_direction.safetensors"
    path = rewrite(source, tmp_path / "turned.safetensors", lambda tensors: None, mask_direction="future")
    assert not all(check.passed for check in verify_file(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("weights.llama_proj.bias"), "missing"),
        (lambda t: t.update({"weights.llama_proj.bais": torch.zeros(1)}), "no place"),
        (lambda t: t.update({"weights.llama_proj.bias": torch.zeros(3)}), "shape"),
        (lambda t: t.pop("weights.video_frame_position_embedding.weight"), "missing"),
        (lambda t: t.pop("inputs.visual"), "visual"),
        (lambda t: t.update({"inputs.speech": torch.zeros(2, 300, 21)}), "speech"),
        (lambda t: t.update({"stray": torch.zeros(1)}), "stray"),
        (lambda t: [t.pop(key) for key in list(t) if key.startswith("outputs.")], "no golden file"),
    ],
)
def test_a_file_that_does_not_fit_is_named(golden, tmp_path, change, message):
    path = rewrite(golden / f"{RELEASED}.safetensors", tmp_path / "odd.safetensors", change)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors") as caught:
        verify_file(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"module": "teapot"}, "teapot"),
        ({"config": "{"}, "not JSON"),
        ({"config": "{}"}, "groupsize"),
        ({"mask_direction": "sideways"}, "sideways"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(golden, tmp_path, metadata, message):
    path = rewrite(golden / f"{RELEASED}.safetensors", tmp_path / "odd.safetensors", lambda t: None, **metadata)
    with pytest.raises(Exception, match=message) as caught:
        verify_file(path)
    assert type(caught.value).__module__ == "video_salmonn.errors"


def test_an_output_that_is_not_finite_fails(golden, tmp_path):
    def change(tensors):
        tensors["inputs.visual"][0, 0, 0] = float("nan")

    path = rewrite(golden / f"{RELEASED}.safetensors", tmp_path / "nan.safetensors", change)
    failed = [check for check in verify_file(path) if not check.passed]
    assert {check.output for check in failed} >= {"tokens"}
    assert failed[0].to_dict()["max_abs_diff"] is None


def test_an_output_unknown_to_us_fails(golden, tmp_path):
    path = rewrite(
        golden / f"{RELEASED}.safetensors",
        tmp_path / "more.safetensors",
        lambda tensors: tensors.update({"outputs.something_else": torch.zeros(1)}),
    )
    assert [check.output for check in verify_file(path) if not check.passed] == ["something_else"]


# ------------------------------------------------------------------------------------------------ the command


def run(*args):
    return CliRunner().invoke(app, ["verify", *map(str, args)])


@pytest.fixture
def one_file(golden, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    shutil.copy(golden / "connector_paper_causal_direction.safetensors", folder)
    return folder


def test_command_exit_0_and_json(one_file):
    result = run(one_file, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [set(row) for row in rows] == [{"file", "output", "max_abs_diff", "passed"}] * 5
    assert {row["output"] for row in rows} == {
        "diversity_all",
        "diversity_released",
        "fused",
        "projected_audio",
        "tokens",
    }
    assert all(row["passed"] is True and 0 <= row["max_abs_diff"] <= 1e-4 for row in rows)


def test_command_table_names_every_output(one_file):
    result = run(one_file)
    assert result.exit_code == 0
    assert "5 of 5 outputs within 0.0001" in result.stdout


def test_command_exit_1_where_an_output_differs(one_file):
    result = run(one_file, "--mask-direction", "future", "--json")
    assert result.exit_code == 1
    assert not all(row["passed"] for row in json.loads(result.stdout))
    assert run(one_file, "--tolerance", "0").exit_code == 1


def test_command_exit_2_on_an_empty_folder(tmp_path):
    result = run(tmp_path, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "CheckpointError"
    assert str(tmp_path) in error["message"]
    assert error["remedy"]
    assert run(tmp_path / "nowhere").exit_code == 2


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_command_exit_2_on_a_corrupt_file(one_file, content):
    (one_file / "zz.safetensors").write_bytes(content)
    result = run(one_file, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert "zz.safetensors" in error["message"]
    assert "copy the file again" in error["remedy"]


def test_command_exit_2_on_a_truncated_file(one_file):
    path = next(one_file.iterdir())
    path.write_bytes(path.read_bytes()[:-1000])
    assert run(one_file).exit_code == 2


def test_command_exit_2_on_usage(one_file):
    assert run(one_file, "--mask-direction", "sideways").exit_code == 2


def test_an_error_is_one_line_on_stderr(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from video_salmonn.cli.main import run; run()", "verify", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error:")
