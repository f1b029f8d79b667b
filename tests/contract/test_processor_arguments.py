"""The processor takes transformers' own keywords, and refuses by name what it does not know."""

from __future__ import annotations

import base64
import inspect
import io

import numpy as np
import pytest
import torch
from clips import clip
from PIL import Image
from transformers import ProcessorMixin, pipeline

from video_salmonn.checkpoints.shipped import CHAT_TEMPLATE
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.model.byte_tokenizer import byte_tokenizer
from video_salmonn.model.presets import tiny as tiny_config
from video_salmonn.model.processing import VideoSalmonnProcessor

QUESTION = "What is this?"
BLUE = Image.new("RGB", (40, 30), (10, 20, 200))
RED = Image.new("RGB", (40, 30), (200, 20, 10))


@pytest.fixture
def files(tmp_path):
    from test_model_laws import write_video

    write_video(tmp_path / "clip.mkv", 1.0)
    BLUE.save(tmp_path / "blue.png")
    return tmp_path


@pytest.fixture
def processor(tiny):
    return tiny[1]


def same(one, other):
    assert set(one) == set(other)
    for name in one:
        assert torch.equal(one[name], other[name]), name


def part(kind, **source):
    return [{"role": "user", "content": [{"type": kind, **source}, {"type": "text", "text": QUESTION}]}]


def test_a_picture_in_every_way_transformers_has_for_it(processor, files):
    wanted = processor(QUESTION, media=[BLUE])
    packed = io.BytesIO()
    BLUE.save(packed, "png")
    text = base64.b64encode(packed.getvalue()).decode()
    chat = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    for batch in (
        processor(text=QUESTION, images=BLUE),
        processor(text=[QUESTION], images=[BLUE], return_tensors="pt"),
        processor(text=QUESTION, images=[[BLUE]], padding=True),
        processor(text=QUESTION, images=np.asarray(BLUE)),
        processor(text=QUESTION, images=torch.from_numpy(np.array(BLUE)).permute(2, 0, 1)),
        processor(text=QUESTION, images=str(files / "blue.png")),
        processor(text=QUESTION, images=f"data:image/png;base64,{text}"),
        processor(part("image"), images=BLUE),
        processor(part("image", image=BLUE)),
        processor.apply_chat_template(part("image", image=BLUE), **chat),
        processor.apply_chat_template(part("image", path=str(files / "blue.png")), **chat),
        processor.apply_chat_template(part("image", base64=text), **chat),
        processor.apply_chat_template(part("image"), images=[BLUE], **chat),
    ):
        same(batch, wanted)
    two = processor(text=[QUESTION, "And?"], images=[BLUE, RED])
    same(two, processor([QUESTION, "And?"], media=[[BLUE], [RED]]))


def test_videos_and_audio(processor, files):
    file = str(files / "clip.mkv")
    same(processor(text=QUESTION, videos=file), processor(QUESTION, media=[file]))
    same(processor(part("video", url=file)), processor(QUESTION, media=[file]))
    samples = np.sin(np.arange(24_000) / 9).astype(np.float32) / 2
    heard = processor(QUESTION, media=[(samples, 16_000)])
    assert int(heard["segment_counts"]) == 1
    for sound in (samples, torch.from_numpy(samples), samples.tolist(), {"array": samples, "sampling_rate": 16_000}):
        same(processor(text=QUESTION, audio=sound, sampling_rate=16_000), heard)
    same(processor(text=QUESTION, audio=(samples, 16_000)), heard)
    only = processor(text=QUESTION, audio=file)  # of a video, only what is heard
    assert int(only["frame_counts"]) == 0 and int(only["segment_counts"]) == 1
    both = processor(text=QUESTION, images=BLUE, audio=(samples, 16_000))
    assert both["frame_counts"].tolist() == [1, 0] and both["segment_counts"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"image": BLUE}, "knows no image"),
        ({"audios": []}, "audios"),
        ({"max_length": 5}, "max_length"),
        ({"truncation": True}, "truncation"),
        ({"images_kwargs": {}}, "images_kwargs"),
        ({"return_tensors": "np"}, "return_tensors"),
        ({"sampling_rate": 16_000}, "without audio"),
        ({"audio": np.zeros(100, np.float32)}, "sampling_rate"),
        ({"media": [BLUE], "images": BLUE}, "media and images"),
        ({"conversations": "What?", "text": "What?"}, "same argument"),
        ({"start": -1.0, "images": BLUE}, "start"),
        ({"no_audio": "false", "images": BLUE}, "no_audio must be True or False"),
        ({"use_video": "no", "images": BLUE}, "use_video must be True or False"),
        ({"audio": np.zeros(100, np.float32), "sampling_rate": "16k"}, "sampling_rate is '16k'"),
    ],
)
def test_what_the_processor_does_not_know_is_refused_by_name(processor, keywords, message):
    text = {} if "text" in keywords else {"text": QUESTION}
    with pytest.raises(ConfigError, match=message):
        processor(**text, **keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"nonsense": 1},
        {"processor_kwargs": {"nonsense": 1}},
        {"chat_template": "{{ messages }}"},
        {"tools": [{}]},
        {"documents": [{}]},
        {"truncation": True},
        {"load_audio_from_video": False},
        {"continue_final_message": True},
    ],
)
def test_the_chat_template_refuses_what_it_would_leave_out(processor, keywords):
    with pytest.raises(ConfigError):
        processor.apply_chat_template(part("image", image=BLUE), tokenize=True, **keywords)


def test_media_that_are_not_there_or_not_what_they_were_given_as(processor, files):
    sound = (np.sin(np.arange(16_000) / 9).astype(np.float32), 16_000)
    for keywords in (
        {"videos": "/no/such.mp4"},
        {"images": "/no/such.png"},
        {"audio": "/no/such.wav"},
        {"images": str(files / "clip.mkv")},
        {"videos": [sound]},
        {"audio": str(files / "blue.png")},
    ):
        with pytest.raises(MediaError):
            processor(text=QUESTION, **keywords)
    for keywords in ({"images": [BLUE, RED]}, {"videos": [str(files / "clip.mkv")]}):
        with pytest.raises(ConfigError, match="no place for"):
            processor(part("image", image=BLUE), **keywords)
    with pytest.raises(ConfigError, match="brings no source"):
        processor(part("video"), images=BLUE)
    with pytest.raises(ConfigError, match="2 conversations"):
        processor(text=["a", "b"], images=[BLUE])


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": QUESTION, "images": [BLUE]}], "a message has images"),
        (part("image", image=BLUE, start=3.0), "type image has start"),
        (part("image", image=BLUE, url="/no/such.png"), "image and url"),
        (part("image", file="/no/such.png"), "the image part brings no source"),
        ([{"role": "user", "content": [{"type": "text", "text": QUESTION, "image": BLUE}]}], "text part has image"),
    ],
)
def test_nothing_in_a_message_is_left_out_silently(processor, messages, message):
    with pytest.raises(ConfigError, match=message):
        processor(messages)


def test_datasets_fill_unused_keys_of_parts_with_none(processor):
    filled = [{"role": "user", "content": [
        {"type": "image", "image": BLUE, "text": None, "url": None},
        {"type": "text", "image": None, "text": QUESTION},
    ]}]  # fmt: skip
    same(processor(filled), processor(QUESTION, media=[BLUE]))


def test_a_picture_in_the_place_of_the_text_and_pictures_as_frames_are_refused(processor):
    with pytest.raises(ConfigError, match="not Image"):
        processor(BLUE, QUESTION)
    with pytest.raises(MediaError, match="a picture, not a video"):
        processor(text=QUESTION, videos=[[BLUE, RED]])


def test_a_tuple_of_media_and_a_list_of_them_are_the_same_items(processor):
    one, other = clip(1.0, seed=1), clip(1.5, seed=2)
    wanted = processor(QUESTION, media=[[one, other]])
    assert len(wanted["frame_counts"]) == 2
    same(processor(QUESTION, media=(one, other)), wanted)
    same(processor(QUESTION, media=[one, other]), wanted)
    same(processor([QUESTION, "And?"], media=(one, other)), processor([QUESTION, "And?"], media=[one, other]))
    pair = processor(QUESTION, media=[(BLUE, (np.sin(np.arange(16_000) / 9).astype(np.float32), 16_000))])
    assert pair["frame_counts"].tolist() == [1] and pair["segment_counts"].tolist() == [1]


def test_decoding_options_reach_the_decoder(processor, files):
    file = str(files / "clip.mkv")
    assert int(processor(text=QUESTION, videos=file, no_audio=True)["segment_counts"]) == 0
    assert int(processor(text=QUESTION, videos=file, end=0.5)["frame_counts"]) == 1
    chat = {"tokenize": True, "return_dict": True}
    for how in ({"end": 0.5}, {"processor_kwargs": {"end": 0.5}}):
        assert int(processor.apply_chat_template(part("video", url=file), **chat, **how)["frame_counts"]) == 1


def test_an_answer_that_was_begun_is_left_open(processor):
    messages = [*part("image", image=BLUE), {"role": "assistant", "content": "It is"}]
    chat = {"tokenize": True, "return_dict": True}
    made = processor.apply_chat_template(messages, continue_final_message=True, add_generation_prompt=False, **chat)
    assert "labels" not in made
    assert processor.tokenizer.decode(made["input_ids"][0]).endswith("ASSISTANT:It is")


def test_the_chat_template_opens_an_answer_only_where_it_is_asked_to(processor):
    """As transformers' own, whose default is False; the processor's call is for questions and always does."""
    ours, theirs = (
        inspect.signature(kind.apply_chat_template).parameters["add_generation_prompt"].default
        for kind in (type(processor), ProcessorMixin)
    )
    assert ours is theirs is False
    question, chat = part("image", image=BLUE), {"tokenize": True, "return_dict": True}
    same(processor.apply_chat_template(question, add_generation_prompt=True, **chat), processor(question))
    assert "labels" not in processor.apply_chat_template(question, **chat)
    answered = [*question, {"role": "assistant", "content": "It is blue"}]
    same(processor.apply_chat_template(answered, **chat), processor(answered, with_labels=True))


def test_the_released_prompt_is_open_only_then_as_well(processor):
    question = [{"role": "user", "content": "What?"}]
    assert processor.apply_chat_template(question) == "USER: What?"
    assert processor.apply_chat_template(question, add_generation_prompt=True) == "USER: What?\nASSISTANT:"
    talk = [*question, {"role": "assistant", "content": "A dog"}, *question]
    assert processor.apply_chat_template(talk) == "USER: What?\nASSISTANT:A dog</s>USER: What?"
    assert processor.apply_chat_template("What?") == "USER: What?"  # a text is one question, not its letters


@pytest.mark.parametrize(
    "conversation", [None, 5, [], [[]], [5], [[5]], [None], [{"role": "user"}], {"role": "user", "content": "x"}]
)
@pytest.mark.parametrize("how", [{}, {"tokenize": True}, {"continue_final_message": True}])
def test_what_is_no_conversation_is_refused(processor, conversation, how):
    with pytest.raises(ConfigError):
        processor.apply_chat_template(conversation, **how)


@pytest.mark.parametrize(
    "name", ["add_generation_prompt", "tokenize", "return_dict", "continue_final_message", "processor_kwargs"]
)
def test_a_switch_that_is_a_text_is_refused(processor, name):
    with pytest.raises(ConfigError, match=name):
        processor.apply_chat_template(QUESTION, **{name: "no"})
    with pytest.raises(ConfigError, match="with_labels"):
        processor(QUESTION, with_labels="no")


@pytest.mark.parametrize(
    "sizes",
    [
        {"video_sizes": [5]},
        {"video_sizes": [(-3, 28, 28)]},
        {"image_sizes": [(3, 3, 3)]},
        {"image_sizes": ["xy"]},
        {"audio_lengths": ["x"]},
        {"audio_lengths": [float("nan")]},
        {"audio_lengths": [-1]},
        {"audio_lengths": 5},
        {"imag_sizes": [(3, 3)]},
    ],
)
def test_sizes_that_are_none_are_refused(processor, sizes):
    with pytest.raises(ConfigError, match=next(iter(sizes))):
        processor._get_num_multimodal_tokens(**sizes)


def test_the_chat_template_of_the_language_model_is_left_open_only_then():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    config = tiny_config()
    config.prompt = "chat"
    processor = VideoSalmonnProcessor.from_config(config, tokenizer)
    question = [{"role": "user", "content": "What?"}]
    closed = processor.apply_chat_template(question)
    assert closed.endswith("What?<|im_end|>\n")
    assert processor.apply_chat_template(question, add_generation_prompt=True) == f"{closed}<|im_start|>assistant\n"


def test_the_picture_reaches_the_pipeline_of_images_and_text(tiny, tmp_path):
    model, processor = tiny
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    pipe = pipeline("image-text-to-text", model=str(tmp_path), device="cpu")
    how = {"max_new_tokens": 6, "return_full_text": False}
    answers = []
    for image in (BLUE, RED):
        batch = processor(QUESTION, media=[image])
        new = model.generate(**batch, max_new_tokens=6)[0, batch["input_ids"].shape[1] :]
        answers.append(processor.tokenizer.decode(new, skip_special_tokens=True))
        assert pipe(images=image, text=QUESTION, **how)[0]["generated_text"] == answers[-1]
        messages = part("image", image=image)
        assert pipe(messages, **how)[0]["generated_text"] == answers[-1]
