"""Transcripts of files with the tiny model: pieces, times, both decoders, the command, and what is refused."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.checkpoints.directory import DECODER, DECODER_WEIGHTS, has_decoder
from video_salmonn.checkpoints.speech_decoder import load_decoder, write_decoder
from video_salmonn.cli.main import app
from video_salmonn.embedded.assemble import written_model
from video_salmonn.errors import CheckpointError, ConfigError, EmptyMediaError, MissingPartError
from video_salmonn.inference import transcribe as module
from video_salmonn.inference.sound_stretches import cut_quietly
from video_salmonn.media import load_clip
from whisper_make import tiny_whisper

RATE = 16_000
GRID = "examples/grid/swbo8n.mp4"
embedded = pytest.mark.skipif(written_model() is None, reason="the embedded model is not set up: video-salmonn setup")


def tone(seconds: float) -> np.ndarray:
    """A tone with a pause of 0.2 s around every full second."""
    time = np.arange(round(seconds * RATE)) / RATE
    loud = np.abs(time - np.round(time)) > 0.1
    return (0.4 * np.sin(time * 1900) * loud).astype(np.float32)


@pytest.fixture(scope="module")
def engine():
    """The tiny model, with word outputs over the bytes of small letters."""
    model, processor = build_tiny()
    letters = [processor.tokenizer(one, add_special_tokens=False).input_ids[-1] for one in " abcdefghij"]
    model.set_words(letters)
    model.config.media_config.trained_seconds = 4.0
    return VideoSalmonn(model, processor, name="tiny")


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """Random weights are unsure of everything: no temperature after the first would change that."""
    monkeypatch.setattr("video_salmonn.inference.speech_decoder.TEMPERATURES", (0.0,))


@pytest.fixture(scope="module")
def plain():
    """The tiny model as it is: its connector says no words."""
    return VideoSalmonn.load("tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model directory (all but its weights) with a speech decoder whose encoder the model hears by."""
    place = tmp_path_factory.mktemp("model")
    whisper, tokenizer = tiny_whisper()
    write_decoder(place, whisper, tokenizer, [[0, 1], [1, 2]])
    return place


@pytest.fixture
def hearing(folder):
    """A tiny model whose speech encoder is the Whisper's of ``folder``."""
    model, processor = build_tiny()
    model.tower.speech.model.load_state_dict(tiny_whisper()[0].get_encoder().state_dict())
    return VideoSalmonn(model, processor, name=str(folder))


# ------------------------------------------------------------------------------------------------------ stretches


@pytest.mark.parametrize("seconds", [0.3, 4.0, 9.7, 23.0])
def test_stretches_cover_the_sound_once_and_end_where_it_is_quiet(seconds):
    sound = tone(seconds)
    parts = [sound[start : start + 11_111] for start in range(0, len(sound), 11_111)]
    found = list(cut_quietly(parts, longest=5.0))
    assert np.array_equal(np.concatenate([samples for _, samples in found]), sound)
    places = np.cumsum([0, *(len(samples) for _, samples in found)]) / RATE
    assert [offset for offset, _ in found] == pytest.approx(places[:-1].tolist())
    assert all(len(samples) <= 5 * RATE for _, samples in found)
    assert all(border == int(border) for border in places[1:-1]), "pauses are at full seconds"
    assert list(cut_quietly([])) == []


# ---------------------------------------------------------------------------------------------- the model's own


def test_a_long_sound_is_transcribed_in_pieces_and_words_have_times(engine):
    seen = []
    made = engine.transcribe((tone(14), RATE), joint_ctc="on", progress=lambda done, total: seen.append((done, total)))
    words = made.words
    assert words and made.duration == pytest.approx(14) and made.decoder == "model" and made.language == "unknown"
    assert all(0 <= word.start <= word.end <= 14 for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert max(word.start for word in words) > 8, "later pieces have later times"
    assert [one.id for one in made.segments] == list(range(len(made.segments)))
    assert seen[-1][0] == pytest.approx(14) and seen[-1][1] == pytest.approx(14)
    assert made.media[0]["heard"]["status"] == "used" and made.media[0]["seen"]["status"] == "off"


def test_stretches_do_not_change_what_pieces_say(engine, monkeypatch):
    """Pieces of one stretch or of several: the same words wherever the borders are the same."""
    sound = (tone(8), RATE)
    whole = engine.transcribe(sound, joint_ctc="on", start=4.0)
    later = engine.transcribe((sound[0][4 * RATE :], RATE), joint_ctc="on")
    shifted = [replace(word, start=word.start + 4, end=word.end + 4) for word in later.words]
    assert [word.text for word in whole.words] == [word.text for word in shifted]
    assert [word.start for word in whole.words] == pytest.approx([word.start for word in shifted])
    monkeypatch.setattr(module, "STRETCH", 4.0)
    assert engine.transcribe(sound, joint_ctc="on").words


def test_pieces_in_which_ctc_hears_no_words_say_nothing(engine, monkeypatch):
    monkeypatch.setattr("video_salmonn.model.joint_decoding.SILENT", -1.0)  # as if the end were sure everywhere
    made = engine.transcribe((tone(6), RATE), joint_ctc="auto")
    assert made.segments == () and made.text == ""


def test_a_model_that_says_no_words_has_times_of_pieces_and_says_so(plain):
    made = plain.transcribe((tone(35), RATE), stop_repeats=4)
    assert 1 < len(made.segments) <= 3 and made.words == ()
    assert made.segments[0].start == 0 and made.segments[-1].end == pytest.approx(35)
    assert any("not trained to say words" in warning for warning in made.warnings)


@pytest.mark.parametrize("samples", [1, 150, 900, 8000])
def test_any_length_of_sound_is_taken(engine, samples):
    made = engine.transcribe((tone(1)[4000 : 4000 + samples], RATE), joint_ctc="on")
    assert made.duration == pytest.approx(samples / RATE) and all(word.end <= 1 for word in made.words)


def test_clips_that_are_decoded_already_are_taken(engine):
    clip = load_clip((tone(5), RATE))
    assert engine.transcribe(clip, joint_ctc="on").text == engine.transcribe((tone(5), RATE), joint_ctc="on").text


# ------------------------------------------------------------------------------------------------------ whisper


def test_the_decoder_of_the_speech_encoder_is_put_together_again(hearing, folder):
    whisper, _ = tiny_whisper()
    made, _ = load_decoder(folder, hearing.model.tower.speech.model)
    assert made.model.encoder is hearing.model.tower.speech.model, "the encoder is in memory once"
    mel = torch.randn(1, 80, 3000)
    tokens = torch.tensor([[whisper.config.decoder_start_token_id, 5, 6]])
    with torch.inference_mode():
        one, other = (model(input_features=mel, decoder_input_ids=tokens).logits for model in (whisper, made))
    assert torch.allclose(one, other, atol=0.05), "its weights are kept in 16 bits where that loses nothing"


@pytest.mark.parametrize("words", [True, False])
def test_whisper_writes_segments_with_times(hearing, words):
    made = hearing.transcribe((tone(3), RATE), decoder="whisper", words=words)
    assert made.decoder == "whisper" and made.language in ("english", "german")
    assert made.segments, "random weights say something"
    assert all(0 <= one.start <= one.end <= 3 for one in made.segments)
    assert bool(made.words) == words
    assert "<|" not in made.text
    again = hearing.transcribe((tone(3), RATE), decoder="whisper", words=words)
    assert again.text == made.text


def test_draws_at_higher_temperatures_are_seeded(hearing, monkeypatch):
    monkeypatch.setattr("video_salmonn.inference.speech_decoder.TEMPERATURES", (0.7,))
    first, again = (hearing.transcribe((tone(1), RATE), decoder="whisper", words=False) for _ in range(2))
    assert first.text == again.text


def test_a_language_is_checked(hearing):
    made = hearing.transcribe((tone(1), RATE), decoder="whisper", language="German", task="translate", words=False)
    assert made.language == "english" and made.task == "translate"
    with pytest.raises(ConfigError, match="language 'klingon' is unknown"):
        hearing.transcribe((tone(1), RATE), decoder="whisper", language="klingon")


def test_a_model_without_its_decoder_says_so(plain, hearing, folder, tmp_path):
    with pytest.raises(MissingPartError, match="without the decoder of its speech encoder") as caught:
        plain.transcribe((tone(1), RATE), decoder="whisper")
    assert "--whisper" in caught.value.remedy
    whisper, tokenizer = tiny_whisper(seed=1)
    whisper.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="its encoder is not the speech encoder of this model"):
        plain.transcribe((tone(1), RATE), decoder="whisper", whisper=tmp_path)
    plain.model.tower.speech.model.load_state_dict(whisper.get_encoder().state_dict())
    assert plain.transcribe((tone(1), RATE), decoder="whisper", whisper=tmp_path).decoder == "whisper"


def test_a_spread_model_is_refused(hearing):
    hearing.model.main_device = torch.device("cpu")
    with pytest.raises(ConfigError, match="not with device_map or offload_encoders"):
        hearing.transcribe((tone(1), RATE), decoder="whisper")


def test_a_damaged_decoder_names_its_folder(hearing, folder, tmp_path):
    copy = tmp_path / "model"
    write_decoder(copy, *tiny_whisper(), None)
    assert has_decoder(copy) and not has_decoder(tmp_path)
    (copy / DECODER / DECODER_WEIGHTS).write_bytes(b"short")
    with pytest.raises(CheckpointError, match=DECODER):
        load_decoder(copy, hearing.model.tower.speech.model)


# ------------------------------------------------------------------------------------------------- refusals, CLI


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "both"}, "decoder is 'both'"),
        ({"task": "summarise"}, "task is 'summarise'"),
        ({"task": "translate"}, "does not translate"),
        ({"temperature": 0.5}, "no option temperature"),
        ({"decoder": "whisper", "num_beams": 3}, "num_beams has no effect"),
    ],
)
def test_impossible_options_are_refused(engine, options, message):
    with pytest.raises(ConfigError, match=message):
        engine.transcribe((tone(1), RATE), **options)


def test_a_picture_has_nothing_to_transcribe(engine):
    with pytest.raises(EmptyMediaError):
        engine.transcribe("examples/shirt.jpg")


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((tone(3) * 20_000).astype(np.int16).tobytes())
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_writes_subtitles_and_json(sound, tmp_path):
    out = tmp_path / "sub" / "out.srt"
    done = run("transcribe", sound, "--model", "tiny", "--out", out)
    assert done.exit_code == 0, done.output
    assert out.read_text("utf-8").startswith("1\n00:00:00,000 --> 00:00:03,000\n")
    value = json.loads(run("transcribe", sound, "--model", "tiny", "--json").stdout)
    assert {"text", "language", "duration", "segments", "media", "decoder"} <= set(value)
    assert value["segments"][0]["end"] == 3.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "format 'pdf' is unknown"),
        (["--decoder", "mine"], "decoder is 'mine'"),
        (["--translate"], "does not translate"),
        (["--out", "."], "is a folder"),
        (["--out", "{sound}"], "is the media file itself"),
        (["--out", "{sound}/words.srt"], "is not a folder one can write to"),
        (["--look-ahead", "nan"], "look_ahead is nan"),
        (["--start", "nan"], "start must be"),
        (["--end", "-1"], "end must be"),
        (["--decoder", "whisper"], "without the decoder of its speech encoder"),
    ],
)
def test_the_command_refuses_with_one_error(sound, arguments, message):
    before = Path(sound).read_bytes()
    done = run("transcribe", sound, "--model", "tiny", "--json", *(one.format(sound=sound) for one in arguments))
    assert done.exit_code == 2 and message in json.loads(done.stdout)["error"]["message"]
    assert Path(sound).read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
@pytest.mark.parametrize("form", ["srt", "json"])
def test_a_transcript_that_cannot_be_written_is_not_lost(sound, form):
    done = run("transcribe", sound, "--model", "tiny", "--format", form, "--out", "/dev/full")
    assert done.exit_code == 2 and "/dev/full: cannot be written (No space left" in done.stderr
    assert "00:00:03,000" in done.stdout if form == "srt" else json.loads(done.stdout)["segments"][0]["end"] == 3.0


@pytest.mark.slow
@embedded
@pytest.mark.parametrize("decoder", ["model", "whisper"])
def test_the_embedded_model_writes_down_a_talking_head(decoder, monkeypatch):
    monkeypatch.setattr("video_salmonn.inference.speech_decoder.TEMPERATURES", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    made = VideoSalmonn.load("embedded").transcribe(GRID, decoder=decoder)
    assert "now" in made.text.lower() and all(0 < word.start < word.end <= 3.1 for word in made.words)
