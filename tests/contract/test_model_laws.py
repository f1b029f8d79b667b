"""The laws transformers' own models keep, on the tiny preset."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from clips import MIX, clip
from profiles import as_released
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoProcessor,
    BertTokenizer,
    LlamaConfig,
    Trainer,
    TrainingArguments,
    pipeline,
)

from video_salmonn.checkpoints.assemble import build_tiny, load_directory
from video_salmonn.connector import diversity_loss
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.media import load_clip
from video_salmonn.model import adapters
from video_salmonn.model.byte_tokenizer import byte_tokenizer
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import preset
from video_salmonn.model.presets import tiny as tiny_config
from video_salmonn.model.processing import VideoSalmonnProcessor

QUESTION = "What happens?"


def one(processor, **how):
    return processor(QUESTION, media=[[clip(3.0, seed=1)]], **how)


def training_batch(processor):
    rows = [
        [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        for q, a in ((QUESTION, "A dog barks."), ("Who?", "Nobody"))
    ]
    return processor(rows, media=[[clip(3.0, seed=1)], [clip(1.0, sight=False, seed=2)]], with_labels=True)


def logits(model, batch):
    with torch.inference_mode():
        return model(**batch).logits


def same_state(a, b):
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForCausalLM, VideoSalmonnForConditionalGeneration])
def test_saved_and_loaded_is_the_same(tiny, tmp_path, auto):
    model, processor = tiny
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    config = AutoConfig.from_pretrained(tmp_path).to_dict() | {"_name_or_path": ""}
    assert config == model.config.to_dict() | {"_name_or_path": ""}
    loaded = auto.from_pretrained(tmp_path).eval()
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(model) and type(again) is VideoSalmonnProcessor
    assert same_state(model, loaded)
    batch, other = one(processor), one(again)
    assert all(torch.equal(batch[name], other[name]) for name in batch)
    assert torch.equal(logits(model, batch), logits(loaded, other))
    assert loaded.generation_config.to_dict() == model.generation_config.to_dict()


def test_tied_embeddings_are_saved_once_and_loaded_tied(tmp_path):
    config = tiny_config()
    config.text_config.tie_word_embeddings = True
    config.tie_word_embeddings = True
    model, processor = build_tiny(config=config)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, _ = load_directory(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert torch.equal(logits(model, one(processor)), logits(loaded, one(processor)))


def test_an_untied_head_may_not_be_missing(tiny, tmp_path):
    model, processor = tiny
    state = {name: t for name, t in model.state_dict().items() if "lm_head" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    processor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="lm_head"):
        load_directory(tmp_path)


def test_bfloat16_survives_saving(own_tiny, tmp_path):
    model, processor = own_tiny
    model = model.to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, _ = load_directory(tmp_path)
    assert loaded.dtype == torch.bfloat16 and same_state(model, loaded)
    out = logits(loaded, one(processor))
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_the_same_input_gives_the_same_output(tiny):
    model, processor = tiny
    assert torch.equal(logits(model, one(processor)), logits(model, one(processor)))


def test_another_profile_leaves_the_model_as_it_was(own_tiny):
    """Building a second model from a first one's configuration once took the first one's causal mask away."""
    model, processor = own_tiny
    before = logits(model, one(processor))
    as_released(model, processor)
    assert model.language_model.config._attn_implementation == "sdpa"
    assert torch.equal(before, logits(model, one(processor)))


def test_eager_is_sdpa(own_tiny, tmp_path):
    model, processor = own_tiny
    model.save_pretrained(tmp_path)
    eager = VideoSalmonnForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert eager.language_model.config._attn_implementation == "eager"
    questions, media = zip(*MIX.values())
    batch = processor(list(questions), media=[list(m) for m in media])
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(logits(model, batch)[real], logits(eager, batch)[real], atol=1e-4, rtol=0)


def gradients(model, batch):
    model.zero_grad()
    torch.manual_seed(0)
    model(**batch).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def no_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def test_gradient_checkpointing_gives_the_same_gradients(own_tiny):
    model, processor = own_tiny
    no_dropout(model).train()
    plain = gradients(model, training_batch(processor))
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    checked = gradients(model, training_batch(processor))
    assert plain.keys() == checked.keys() and plain
    for name in plain:
        torch.testing.assert_close(plain[name], checked[name], atol=1e-5, rtol=1e-4)


def test_gradients_reach_what_is_trained_and_nothing_else(own_tiny):
    model, processor = own_tiny
    model.train()
    found = gradients(model, training_batch(processor))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(found) == trained
    assert all(name.startswith("connector.") or ".lora_" in name for name in trained)
    unused = {n for n, g in found.items() if not g.abs().sum() > 0}
    assert not unused - {n for n in unused if n.endswith("key.bias")}  # a key's bias cancels in the softmax
    assert not model.tower.training and model.connector.training and model.language_model.training


def test_the_loss_is_cross_entropy_and_the_weighted_diversity(own_tiny):
    model, processor = own_tiny
    batch = training_batch(processor)
    output = model(**batch)
    shifted, labels = output.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    cross_entropy = torch.nn.functional.cross_entropy(shifted, labels, ignore_index=-100)
    torch.testing.assert_close(output.language_loss, cross_entropy, atol=1e-5, rtol=0)
    model.config.diversity_weight = 0.7
    again = model(**batch)
    torch.testing.assert_close(again.loss, cross_entropy + 0.7 * again.diversity_loss, atol=1e-5, rtol=0)
    alone = model.connect_media(
        model.encode_media(inputs_of(batch)), (batch["instruction_ids"], batch["instruction_mask"])
    )
    ((count, connected),) = alone.groups
    assert count == 2
    torch.testing.assert_close(again.diversity_loss, diversity_loss(connected, "released"))
    coarse = connected.levels[1][connected.window_masks[1]]
    unit = coarse / coarse.norm(dim=-1, keepdim=True)
    pairs = (unit @ unit.transpose(1, 2)).sum((1, 2)) - unit.shape[1]
    by_hand = (pairs / (unit.shape[1] * (unit.shape[1] - 1))).mean()
    torch.testing.assert_close(again.diversity_loss, by_hand, atol=1e-5, rtol=0)


def inputs_of(batch):
    from video_salmonn.model.inputs import MediaInputs

    return MediaInputs(**{name: batch.get(name) for name in MediaInputs.names()})


def test_accumulating_batches_does_not_multiply_lambda(own_tiny):
    model, processor = own_tiny
    model.config.diversity_weight = 5.0
    batch = training_batch(processor)
    whole = model(**batch)
    own = int((batch["labels"][:, 1:] != -100).sum())
    halves = [model(**batch, num_items_in_batch=torch.tensor(2 * own)).loss for _ in range(2)]
    torch.testing.assert_close(sum(halves), whole.loss, atol=1e-4, rtol=1e-5)


def test_vocabulary_can_grow(own_tiny):
    model, processor = own_tiny
    before = logits(model, one(processor))
    model.resize_token_embeddings(400)
    after = logits(model, one(processor))
    assert after.shape[-1] == 400 and model.config.text_config.vocab_size == 400
    torch.testing.assert_close(after[..., :384], before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["tiny", "embedded", "paper-7b"])
def test_the_model_is_built_on_meta_without_memory(name):
    with torch.device("meta"):
        model = VideoSalmonnForConditionalGeneration(preset(name))
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_new_adapter_changes_nothing_also_where_a_checkpoint_lacks_it(tiny):
    model, _ = tiny
    state = {name: t for name, t in model.state_dict().items() if ".lora_" not in name}
    loaded = VideoSalmonnForConditionalGeneration.from_pretrained(None, config=model.config, state_dict=state)
    for fresh in (loaded, build_tiny()[0]):
        ups = [p for name, p in fresh.named_parameters() if ".lora_B." in name]
        downs = [p for name, p in fresh.named_parameters() if ".lora_A." in name]
        assert ups and all(not p.any() for p in ups) and all(p.any() for p in downs)


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({"num_beams": 3}, 1),
        ({"num_beams": 3, "num_return_sequences": 2}, 2),
        ({"do_sample": True, "temperature": 1.5, "top_p": 0.9}, 1),
        ({"do_sample": True, "num_return_sequences": 3}, 3),
    ],
)
def test_every_way_of_generating(tiny, how, rows):
    model, processor = tiny
    batch = one(processor)
    width = batch["input_ids"].shape[1]
    torch.manual_seed(0)
    output = model.generate(**batch, max_new_tokens=5, **how)
    assert output.shape[0] == rows and width < output.shape[1] <= width + 5
    assert torch.equal(output[:, :width], batch["input_ids"].expand(rows, -1))
    torch.manual_seed(0)
    dictionary = model.generate(**batch, max_new_tokens=5, return_dict_in_generate=True, output_scores=True, **how)
    assert torch.equal(dictionary.sequences, output) and dictionary.scores


def test_embeddings_in_place_of_ids(tiny):
    model, processor = tiny
    batch = one(processor)
    with torch.inference_mode():
        tokens = model.connect_inputs(MediaInputs.taken_from(dict(batch))).embeds
        embeds = model.embed(batch["input_ids"], tokens)
    whole = model.generate(**batch, max_new_tokens=6)
    new = model.generate(inputs_embeds=embeds, attention_mask=batch["attention_mask"], max_new_tokens=6)
    given = model.generate(batch["input_ids"], batch["attention_mask"], media_embeds=tokens, max_new_tokens=6)
    assert torch.equal(whole[:, batch["input_ids"].shape[1] :], new) and torch.equal(given, whole)


def test_a_prompt_of_other_media_is_refused(tiny):
    model, processor = tiny
    batch = one(processor)
    with pytest.raises(ConfigError, match="placeholders"):
        model.generate(batch["input_ids"][:, 5:].repeat(1, 2), media_embeds=torch.zeros(3, 64))


@pytest.mark.parametrize("way", ["generate", "forward"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(MediaInputs.names()), "but no media are given"),
        ({"frame_counts": None, "segment_counts": None}, "without (frame|segment)_counts"),
        ({"media_embeds": lambda batch: torch.zeros(int((batch["input_ids"] == 260).sum()), 7)}, "media_embeds is"),
        ({"media_embeds": lambda batch: [1]}, "media_embeds is list"),
        ({"input_ids": lambda batch: batch["input_ids"].tolist()}, "input_ids is list"),
        ({"input_ids": lambda batch: batch["input_ids"][0]}, "input_ids is"),
        ({"input_ids": lambda batch: batch["input_ids"].float()}, r"input_ids is torch\.float32"),
        ({"input_ids": lambda batch: batch["input_ids"] + 10**6}, "input_ids go from"),
        ({"input_ids": lambda batch: -batch["input_ids"]}, "input_ids go from"),
        ({"input_ids": lambda batch: batch["input_ids"][:, :0]}, "input_ids is"),
        ({"input_ids": None}, "input_ids or inputs_embeds"),
        ({"inputs_embeds": lambda batch: torch.zeros(*batch["input_ids"].shape, 64)}, "media are given beside"),
    ],
)
def test_a_prompt_that_is_none_is_refused(tiny, way, changes, message):
    model, processor = tiny
    batch = dict(one(processor))
    batch |= {name: value(batch) if callable(value) else value for name, value in changes.items()}
    with pytest.raises(ConfigError, match=message), torch.inference_mode():
        model(**batch) if way == "forward" else model.generate(**batch, max_new_tokens=2)


@pytest.mark.parametrize("shape", [(4, 64), (1, 4, 65), (0, 4, 64), (1, 0, 64)])
def test_embeddings_of_another_shape_are_refused(tiny, shape):
    model, _ = tiny
    for ask in (model, partial(model.generate, max_new_tokens=2)):
        with pytest.raises(ConfigError, match="inputs_embeds is"):
            ask(inputs_embeds=torch.zeros(shape))
        with pytest.raises(ConfigError, match=r"inputs_embeds is torch\.int64"):
            ask(inputs_embeds=torch.zeros(1, 4, 64, dtype=torch.int64))


def test_masks_and_options_that_do_not_fit_are_refused(tiny):
    model, processor = tiny
    batch = one(processor)
    ask = partial(model.generate, max_new_tokens=2)
    with pytest.raises(ConfigError, match="attention_mask is"):
        ask(**{**batch, "attention_mask": batch["attention_mask"][:, :-2]})
    with pytest.raises(ConfigError, match="input_ids is"):
        ask(input_ids=batch["input_ids"], inputs_embeds=torch.zeros(1, 4, 64))
    for option in ({"joint_ctc": "x"}, {"joint_ctc_weight": "x"}, {"stop_repeats": "x"}, {"stop_repeats": -1}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            ask(**batch, **option)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index


def test_a_plain_trainer_fits_it(own_tiny, tmp_path):
    model, processor = own_tiny
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    arguments = TrainingArguments(
        str(tmp_path),
        use_cpu=True,
        max_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        report_to=[],
        remove_unused_columns=False,
        logging_steps=1,
    )
    trainer = Trainer(
        model, arguments, data_collator=lambda rows: dict(training_batch(processor)), train_dataset=Rows()
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert len(losses) == 2 and losses[1] < losses[0]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p.cpu(), before[name])}
    assert moved and moved <= {name for name, p in model.named_parameters() if p.requires_grad}


def test_adapters_scale_choose_save_and_merge(own_tiny, tmp_path):
    model, processor = own_tiny
    language, batch = model.language_model, one(processor)
    trained = logits(model, batch)
    adapters.activate(language)
    base = logits(model, batch)
    adapters.activate(language, "default")
    assert (trained - base).abs().max() > 1e-2
    with adapters.scaled(language, 0.0):
        torch.testing.assert_close(logits(model, batch), base, atol=1e-6, rtol=0)
    with adapters.scaled(language, 0.5):
        half = logits(model, batch)
    assert not torch.equal(half, trained) and not torch.equal(half, base)
    assert torch.equal(logits(model, batch), trained)

    adapters.save(language, tmp_path / "lora.safetensors")
    model.add_lora("second", model.config.lora, tmp_path / "lora.safetensors")
    assert adapters.names(language) == ["default", "second"] and adapters.active(language) == ["default"]
    adapters.activate(language, "second")
    assert torch.equal(logits(model, batch), trained)
    adapters.activate(language, "default", "second")
    assert not torch.equal(logits(model, batch), trained)
    adapters.activate(language, "default")

    model.save_pretrained(tmp_path / "both")
    processor.save_pretrained(tmp_path / "both")
    both, _ = load_directory(tmp_path / "both")
    assert adapters.names(both.language_model) == ["default", "second"]
    assert torch.equal(logits(both, batch), trained)

    assert model.merge_lora() == 2 * 4
    assert not adapters.names(model.language_model)
    torch.testing.assert_close(logits(model, batch), trained, atol=1e-4, rtol=0)
    model.save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(load_directory(tmp_path / "merged")[0], batch), trained, atol=1e-4, rtol=0)


def test_adapters_fail_clearly(own_tiny, tmp_path):
    model, _ = own_tiny
    with pytest.raises(ConfigError, match="no adapter 'other'"):
        adapters.set_scale(model.language_model, 1.0, "other")
    with pytest.raises(ConfigError, match="already"):
        model.add_lora("default", model.config.lora)
    adapters.save(model.language_model, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=r"lora\.safetensors"):
        model.add_lora("wide", {**model.config.lora.to_dict(), "r": 8}, tmp_path / "lora.safetensors")


@pytest.mark.parametrize("profile", ["plain", "released"])
@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.5, 5.04, 7.3])
def test_media_tokens_are_known_before_decoding(tiny, tmp_path, profile, seconds):
    model, processor = tiny if profile == "plain" else as_released(*tiny)
    file = tmp_path / "clip.mkv"
    write_video(file, seconds)
    decoded = load_clip(file, options=processor.media_options())
    frames, height, width, _ = decoded.frames.frames.shape
    (known,) = processor._get_num_multimodal_tokens(video_sizes=[(frames, height, width)])["num_video_tokens"]
    (made,) = processor.media_lengths(processor.media_inputs([decoded]))
    with torch.inference_mode():
        connected = model.connect_media(model.encode_media(processor.media_inputs([decoded])))
    assert known == made == len(connected.tokens[0])


def write_video(path, seconds, fps=25, rate=16_000):
    import av
    import numpy as np

    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=fps)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for i in range(round(seconds * fps)):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), i % 255, np.uint8), format="rgb24")))
        out.mux(video.encode(None))
        wave = (3000 * np.sin(np.arange(round(seconds * rate)) / 20)).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        sound.sample_rate, sound.pts = rate, 0
        out.mux(audio.encode(sound))
        out.mux(audio.encode(None))


@pytest.mark.parametrize("task", ["any-to-any", "image-text-to-text"])
def test_transformers_own_pipeline(tiny, tmp_path, task):
    model, processor = tiny
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    write_video(tmp_path / "clip.mkv", 1.0)
    pipe = pipeline(task, model=str(tmp_path), device="cpu")
    part = {"type": "video", "url": str(tmp_path / "clip.mkv")}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}]
    (made,) = pipe(messages, max_new_tokens=4, return_full_text=False)
    batch = processor(messages, media=[[str(tmp_path / "clip.mkv")]])
    new = model.generate(**batch, max_new_tokens=4)[0, batch["input_ids"].shape[1] :]
    assert made["generated_text"] == processor.tokenizer.decode(new, skip_special_tokens=True)


def test_any_llama_like_backbone(tmp_path):
    """A grouped-query language model of another kind takes the same connector."""
    from transformers import Qwen2Config

    config = tiny_config()
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    for kind in (Qwen2Config, LlamaConfig):
        config.text_config = kind(vocab_size=384, intermediate_size=96, bos_token_id=1, eos_token_id=2, **sizes)
        model, processor = build_tiny(config=config)
        output = model.generate(**one(processor), max_new_tokens=3)
        assert output.shape[0] == 1


def test_features_by_their_library_names_equal_what_the_model_encodes(tiny):
    """transformers' names for encoding: one entry an item, the same numbers as the path that answers take."""
    model, processor = tiny
    inputs = processor.media_inputs([clip(2.0), clip(1.0, seed=1)])
    encoded = model.encode_media(inputs)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    visual = model.get_video_features(inputs.pixel_values, inputs.frame_counts, ids)
    sound = model.get_audio_features(
        log_mel=inputs.log_mel,
        audio_inputs=inputs.audio_inputs,
        segment_counts=inputs.segment_counts,
        segment_samples=inputs.segment_samples,
        sound_frames=inputs.sound_frames,
    )
    mask = torch.ones_like(ids[0])
    for index, item in enumerate(encoded):
        assert torch.equal(visual[index], model.tower.visual_tokens_of(item, (ids[index], mask)))
        assert torch.equal(sound[index][0], item.speech)
        assert torch.equal(sound[index][1], item.audio)


def test_a_long_question_keeps_the_beginning_token_that_instructblip_reads(tmp_path):
    words = tmp_path / "vocab.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "early", "late"]))
    config = preset("tiny")
    processor = VideoSalmonnProcessor.from_config(config, byte_tokenizer(), BertTokenizer(str(words)))
    ids, mask = processor.instruction(["early " * 300 + "late " * 400, "late"])
    assert ids.shape == (2, 512) and mask[0].all()
    tokens = processor.qformer_tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]"
    assert tokens[1:-1] == ["early"] * 110 + ["late"] * 400, "what a question ends with is what it asks"
    assert processor.qformer_tokenizer.convert_ids_to_tokens(ids[1][:3].tolist()) == ["[CLS]", "late", "[SEP]"]
