"""From official files to answers: conversion of synthetic files of the released layout."""

import hashlib
import json
import re

import pytest
import torch
from official_files import (
    Official,
    Sizes,
    golden_weights,
    joint_qformer,
    write_tokenizers,
)
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import load_directory
from video_salmonn.checkpoints.golden import read_golden
from video_salmonn.cli.main import app
from video_salmonn.features.fbank import beats_fbank, frame_mask
from video_salmonn.model.lora import LoraSettings
from video_salmonn.training.batching import prepare
from video_salmonn.training.examples import Example

HEADS = {
    "connector": {"num_attention_heads": 4},
    "vision": {"num_attention_heads": 5, "num_hidden_layers": 3},
    "instruction_qformer": {"num_attention_heads": 4},
}
"""What shapes do not tell and is not as released, in the golden files."""
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory):
    return write_tokenizers(tmp_path_factory.mktemp("tokenizers") / "made")


def run(files, out, *flags, settings=HEADS, dtype="float32"):
    written = out.parent / f"{out.name}-settings.json"
    written.write_text(json.dumps(settings))
    arguments = [x for name, path in files.items() for x in (f"--{name.replace('_', '-')}", str(path))]
    arguments += ["--out", str(out), "--settings", str(written), "--dtype", dtype, "--json"]
    return CliRunner().invoke(app, ["convert", *arguments, *flags])


def converted(files, out, *flags, **options):
    result = run(files, out, *flags, **options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def error_of(result):
    assert result.exit_code == 2, result.output
    return json.loads(result.stdout)["error"]


@pytest.fixture(scope="session")
def one(tokenizers, golden, tmp_path_factory):
    """(official states, files, model directory, report): the delta file holds the golden file's connector."""
    folder = tmp_path_factory.mktemp("connector")
    official = Official(connector=golden_weights(golden / "connector_released_layout.safetensors"))
    files = official.write(folder / "files", tokenizers)
    return official, files, folder / "out", converted(files, folder / "out")


@pytest.fixture(scope="session")
def engine(one):
    return VideoSalmonn.load(one[2])


@pytest.fixture(scope="session")
def two(tokenizers, golden, tmp_path_factory):
    """A model whose vision encoder, InstructBLIP Q-Former and BEATs are those of the golden files."""
    folder = tmp_path_factory.mktemp("encoders")
    official = Official(
        Sizes(hidden=32, beats=24, beats_feed_forward=48),
        visual=golden_weights(golden / "visual_tower.safetensors"),
        beats=golden_weights(golden / "beats_encoder.safetensors"),
        second_names=False,
    )
    converted(official.write(folder / "files", tokenizers), folder / "out")
    return VideoSalmonn.load(folder / "out").model


def difference(ours, expected):
    assert ours.shape == expected.shape
    return (ours.double() - expected.double()).abs().max().item()


# ------------------------------------------------------------------------------------------------ golden parity


@torch.inference_mode()
def test_the_converted_connector_gives_the_golden_tokens(engine, golden):
    file = read_golden(golden / "connector_released_layout.safetensors")
    inputs = file.inputs
    output = engine.model.connector(
        inputs["visual"].unflatten(1, (-1, 32)),
        inputs["speech"],
        inputs["audio"],
        modality_mask=inputs["modality_mask"],
    )
    assert difference(output.tokens, file.outputs["tokens"]) < TOLERANCE


@torch.inference_mode()
def test_the_converted_vision_tower_gives_the_golden_outputs(two, golden):
    file = read_golden(golden / "visual_tower.safetensors")
    patches = two.tower.vision(file.inputs["frames"]).values
    assert difference(patches, file.outputs["patch_grid"]) < TOLERANCE
    qformer = two.tower.instruction_qformer
    ids, mask = file.inputs["instruction_ids"], file.inputs["instruction_mask"]
    assert difference(qformer(patches, ids, mask).values, file.outputs["tokens_with_instruction"]) < TOLERANCE
    assert difference(qformer(patches).values, file.outputs["tokens_without_instruction"]) < TOLERANCE


@torch.inference_mode()
def test_the_converted_beats_gives_the_golden_features(two, golden):
    file = read_golden(golden / "beats_encoder.safetensors")
    waveform = file.inputs["waveform"]
    mask = frame_mask(file.inputs["lengths"], waveform.shape[1])
    features = two.tower.audio(beats_fbank(waveform), mask).values
    assert difference(features, file.outputs["features"]) < TOLERANCE


# -------------------------------------------------------------------------------------------- the whole model


def test_every_live_tensor_is_in_the_model_and_nothing_else(one, engine):
    """Matched by their numbers, without any table: each official tensor is one of the model's, and the rest is none."""
    official, model = one[0], dict(engine.model.state_dict())
    joined = set()
    for state, dead in (
        (official.delta, r"low_Qformer|joint_|speech_Qformer|speech_query|ln_joint|ln_speech|llama_proj_|.*inv_freq"),
        (official.instructblip, r"Qformer\.cls|llm_proj"),
        (official.eva, r"blocks\.3|norm\.|head\.|.*attn\.[qv]_bias"),
        (official.beats, r"predictor|.*weight_[gv]|encoder\.layers\.1\.self_attn\.relative"),
        (official.whisper, r"model\.decoder"),
        (official.llm, r".*inv_freq"),
    ):
        for name, tensor in state.items():
            if re.match(dead, name) or name.endswith("position_ids"):
                continue
            tensor = tensor.squeeze(0) if name.endswith(("video_query_tokens", "low_query_tokens")) else tensor
            found = [k for k, v in model.items() if v.shape == tensor.shape and torch.equal(v, tensor)]
            found = [k for k in found if k not in joined]
            assert found, name
            joined.add(found[0])
    made = {k for k in model if k.endswith("qkv.bias") or k == "tower.audio.encoder.pos_conv.weight"}
    rest = {k for k in set(model) - joined - made if not k.endswith(("position_ids", "inv_freq"))}
    assert rest == set()
    q_bias, v_bias = official.eva["blocks.1.attn.q_bias"], official.eva["blocks.1.attn.v_bias"]
    joint = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    assert torch.equal(model["tower.vision.model.encoder.layers.1.self_attn.qkv.bias"], joint)


def test_the_adapter_is_in_force_at_scale_one(one, tokenizers, tmp_path):
    """Released: alpha equals the rank, 32; other ranks keep alpha 32 unless told."""
    official, files, _, _ = one
    settings = HEADS | {"lora": {"alpha": official.sizes.rank}}
    converted(files, tmp_path / "out", settings=settings)
    model = VideoSalmonn.load(tmp_path / "out").model
    layer = model.language_model.model.layers[1].self_attn.v_proj
    stem = "model.layers.1.self_attn.v_proj"
    a, b = (official.delta[f"llama_model.base_model.model.{stem}.lora_{side}.default.weight"] for side in "AB")
    x = torch.randn(3, official.sizes.llm)
    expected = x @ (official.llm[f"{stem}.weight"] + b @ a).T
    assert difference(layer(x).detach(), expected) < 1e-4
    assert model.config.lora.targets == ("q_proj", "k_proj", "v_proj", "o_proj")


def test_each_released_behaviour_can_be_switched_by_itself(one, tmp_path):
    settings = HEADS | {"media": {"frame_times": "uniform"}, "generation": {"num_beams": 1}}
    settings["connector"] = HEADS["connector"] | {"mask_direction": "past", "trim_padding": True}
    converted(one[1], tmp_path / "out", settings=settings, dtype="bfloat16")
    engine = VideoSalmonn.load(tmp_path / "out")
    for config in (engine.model.config, engine.processor.config):
        assert config.media_config.frame_times == "uniform"
        assert config.media_config.resize == "released"
        assert (config.connector_config.mask_direction, config.connector_config.trim_padding) == ("past", True)
        assert config.connector_config.attend_padding is True
    assert engine.model.generation_config.num_beams == 1
    assert engine.model.generation_config.repetition_penalty == 1.5
    assert {p.dtype for p in engine.model.parameters()} == {torch.bfloat16}
    report = engine.ask("tests/fixtures/media/lbax4n.mpg", "What is said?", max_new_tokens=2).report
    assert report["media_tokens"] == 18  # 3 s at 6 a second


def test_it_answers_about_a_real_clip(engine, one):
    clip = "tests/fixtures/media/lbax4n.mpg"
    answer = engine.ask(clip, "What is said?", max_new_tokens=4)
    assert answer.report["media_tokens"] == 180  # whatever is shorter than 30 s, as released
    assert answer.report["media"][0]["seen"]["status"] == answer.report["media"][0]["heard"]["status"] == "used"
    again = VideoSalmonn.load(one[2]).ask(clip, "What is said?", max_new_tokens=4)
    assert again.text == answer.text


def test_its_costs_can_be_planned(one):
    """A directory is enough, and a Q-Former with few positions is no obstacle."""
    result = CliRunner().invoke(app, ["plan", "--model", str(one[2]), "--clip", "20s", "--dtype", "fp32", "--json"])
    assert result.exit_code == 0, result.output
    account = json.loads(result.stdout)
    assert account["weights"]["total"] == 4 * one[3]["parameters"]["total"]
    assert (account["beams"], account["new_tokens"], account["media_tokens"]) == (5, 512, 180)


def test_transformers_own_classes_load_it(engine, one):
    model = AutoModel.from_pretrained(one[2])
    assert type(model) is type(engine.model)
    ours = engine.model.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in model.state_dict().items())
    assert model.generation_config.num_beams == 5
    assert model.generation_config.repetition_penalty == 1.5
    processor = AutoProcessor.from_pretrained(one[2])
    assert processor.tokenizer.get_vocab() == engine.processor.tokenizer.get_vocab()


def test_the_configuration_is_read_off_the_files(engine):
    config = engine.model.config
    connector = config.connector_config
    assert [(level.frames, level.queries) for level in connector.levels] == [(1, 3), (10, 30)]
    assert (connector.hidden_size, connector.speech_dim, connector.audio_dim, connector.llm_dim) == (24, 20, 12, 32)
    assert (connector.mask_direction, connector.attend_padding, connector.trim_padding) == ("future", True, False)
    assert connector.position_rows == 704
    assert config.vision_config.num_hidden_layers == 3
    assert (config.vision_config.image_size, config.vision_config.patch_size, config.media_config.image_size) == (
        56,
        14,
        56,
    )
    assert config.qformer_config.cross_attention_frequency == 2
    assert config.audio_config.max_distance == 64
    assert config.lora == LoraSettings(r=4, alpha=32, dropout=0.1, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    assert config.media_config.frame_times == config.media_config.resize == "released"
    assert (config.media_config.max_seconds, config.media_config.max_sound_seconds) == (60, 30)


# ------------------------------------------------------------------------------------------------------ prompts


def test_prompts_are_cut_as_the_released_code_does(one, engine):
    """Piece by piece, each with SentencePiece's own word mark before it; the pad token is the end token."""
    from sentencepiece import SentencePieceProcessor

    reference = SentencePieceProcessor(model_file=str(one[1]["llm"] / "tokenizer.model"))
    question = "Describe the video, and two  cats: naïve 12345?"
    rendered = engine.processor.render(question, [7])
    before, after = reference.encode("USER: <Img>"), reference.encode(f"</Img> {question}\nASSISTANT:")
    assert rendered.input_ids == [1, *before, *[0] * 7, *after]
    assert reference.id_to_piece(after[0]).startswith("▁")
    assert engine.processor.tokenizer.pad_token_id == 2


def test_the_question_reaches_instructblip_in_bert_tokens(engine):
    ids, mask = engine.processor.instruction(["What is said in the video?"])
    words = engine.processor.qformer_tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert words == ["[CLS]", "what", "is", "said", "in", "the", "video", "?", "[SEP]"]
    assert mask.tolist() == [[1] * 9]
    assert len(engine.processor.qformer_tokenizer) == 60  # 59 in the folder, and [DEC] as in the release


# ------------------------------------------------------------------------------------------------------- report


def test_what_is_left_out_is_reported(one):
    report = one[3]
    dropped = {(drop["file"].rsplit("/", 1)[-1], drop["reason"]): drop for drop in report["dropped"]}
    dead = next(drop for drop in report["dropped"] if "share one Q-Former" in drop["reason"])
    assert dead["count"] == 74 == len(joint_qformer("low_Qformer", one[0].sizes))
    assert ("beats.pt", "the AudioSet classifier is not used") in dropped
    assert ("model.safetensors", "Whisper's decoder is not used") in dropped
    assert dropped["eva.pth", "a block after the 3 that are used"]["count"] == 13
    assert (
        len(report["aliases"]) == 2 * 74 + 2 + 2 * 2 + 1 + 2 * 2 + 1
    )  # Q-Formers, queries, norms, positions, projections
    assert report["tensors"]["total"] == sum(n for part, n in report["tensors"].items() if part != "total")
    assert report["tensors"]["connector"] == 11 + 74
    assert report["tensors"]["lora"] == 2 * 4 * 2
    read = sum(source["tensors"] for source in report["sources"])
    extra = 3 + 1  # a q and a v bias make one tensor in three blocks, gain and direction one in BEATs
    left = sum(drop["count"] for drop in report["dropped"])
    assert read == report["tensors"]["total"] + extra + left + len(report["aliases"])


def test_the_record_names_sources_hashes_and_choices(one):
    _, files, out, report = one
    text = (out / "CONVERSION.md").read_text()
    for name in ("delta", "eva", "instructblip", "beats"):
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() in text
    assert "low_Qformer" in text
    assert "attends to the future of its window" in text
    for path in out.rglob("*"):  # no path of the machine it was made on
        if path.suffix in (".json", ".md"):
            assert str(out.parent) not in path.read_text(), path.name
    assert report["sources"][0]["sha256"] in text


def test_shards_and_index_agree(one, tmp_path):
    from video_salmonn.checkpoints.released.convert import convert
    from video_salmonn.checkpoints.released.given import ReleasedFiles

    report = convert(ReleasedFiles(**one[1]), tmp_path / "out", settings=HEADS, shard_bytes=100_000)
    assert report["shards"] > 3
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    found = {}
    for path in (tmp_path / "out").glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path.name)
            assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
    assert found == index["weight_map"]
    model = VideoSalmonn.load(tmp_path / "out").model
    assert model.dtype == torch.float16


def test_a_dry_run_reads_no_numbers_and_writes_nothing(tokenizers, tmp_path):
    official = Official()
    official.delta["ln_video.weight"][0] = float("nan")
    official.delta["ln_joint.weight"] += 1
    files = official.write(tmp_path / "files", tokenizers)
    report = converted(files, tmp_path / "out", "--dry-run")
    assert report["dry_run"]
    assert not (tmp_path / "out").exists()
    assert {source["sha256"] for source in report["sources"]} == {None}
    assert "aliases" in report["notes"][-1]
    assert "not finite" in error_of(run(files, tmp_path / "out"))["message"]


def test_the_table_on_a_terminal(one, tmp_path):
    arguments = [x for n, p in one[1].items() for x in (f"--{n.replace('_', '-')}", str(p))]
    arguments += ["--out", str(tmp_path / "out"), "--settings", str(one[2].parent / "out-settings.json"), "--dry-run"]
    result = CliRunner().invoke(app, ["convert", *arguments])
    assert result.exit_code == 0, result.output
    assert "would write" in result.stdout
    assert "left out: 74" in result.stdout


# ------------------------------------------------------------------------------------ InstructBLIP as a HF folder


def test_instructblip_from_its_hugging_face_folder(one, tokenizers, tmp_path):
    """The same numbers under the names of the Hub's repository give the same model."""
    official, files, out, _ = one
    s, folder = official.sizes, tmp_path / "instructblip"
    folder.mkdir()
    state = {"language_model.model.norm.weight": torch.ones(4), "language_projection.bias": torch.ones(4)}
    ours = VideoSalmonn.load(out).model.state_dict()
    vision, qformer = "tower.vision.model.", "tower.instruction_qformer."
    for name, tensor in ours.items():
        if name.startswith(vision):
            state[f"vision_model.{name.removeprefix(vision)}"] = tensor
        elif name.startswith(qformer):  # "qformer.…" and "query_tokens"
            state[name.removeprefix(qformer)] = tensor
    save_file({k: v.clone() for k, v in state.items()}, folder / "model.safetensors")
    sizes = {"hidden_size": s.eva, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 5}
    sizes |= {"image_size": 56, "patch_size": 14, "hidden_act": "gelu"}
    words = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
    words |= {"vocab_size": 60, "max_position_embeddings": 32, "cross_attention_frequency": 2}
    words |= {"encoder_hidden_size": 40}
    config = {"model_type": "instructblip", "vision_config": sizes, "qformer_config": words, "num_query_tokens": 32}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "qformer_tokenizer").mkdir()
    (folder / "qformer_tokenizer" / "vocab.txt").write_bytes((tokenizers / "bert" / "vocab.txt").read_bytes())
    other = {name: files[name] for name in ("delta", "beats", "whisper", "llm")} | {"instructblip_hf": folder}
    report = converted(other, tmp_path / "out", settings={"connector": {"num_attention_heads": 4}})
    assert any("language model is not used" in drop["reason"] for drop in report["dropped"])
    model = VideoSalmonn.load(tmp_path / "out").model
    assert all(torch.equal(tensor, ours[name]) for name, tensor in model.state_dict().items())


def test_a_model_to_be_trained_needs_no_delta_and_says_that_it_is_new(one, tokenizers, tmp_path):
    _, files, _, _ = one
    rest = {name: path for name, path in files.items() if name != "delta"}
    report = converted(rest, tmp_path / "start", "--new")
    assert report["new"] and any("has to be trained" in note for note in report["notes"])
    assert "To be trained" in (tmp_path / "start/CONVERSION.md").read_text()
    model, processor = load_directory(tmp_path / "start")
    sizes = model.connector.config
    assert (sizes.mask_direction, sizes.attend_padding, sizes.trim_padding) == ("past", False, True)
    adapters = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" in name}
    assert adapters and all(tensor.any() == (".lora_A." in name) for name, tensor in adapters.items())
    assert float(model.connector.llm_projection.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    example = Example("a", None, [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes"}], 1.0, "")
    assert prepare(example, processor, 512).counted
    for flags, given in ((("--new",), files), ((), rest)):
        assert "--new" in error_of(run(given, tmp_path / "refused", *flags))["message"]
