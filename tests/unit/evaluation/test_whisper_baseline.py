"""Whisper's own decoder beside the model: what it writes, when it is left out, and that no other engine sees it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from engines import RuleEngine
from video_salmonn.embedded.parts import converted, locate
from video_salmonn.embedded.pretrained import PARTS, part_directory, whisper_folder
from video_salmonn.errors import MissingPartError
from video_salmonn.evaluation.benchmark import Options, evaluate
from video_salmonn.evaluation.engine import HasDecoder, Request
from video_salmonn.evaluation.item import Media
from video_salmonn.evaluation.own_model import OwnModel
from video_salmonn.evaluation.predictions import read_predictions
from video_salmonn.evaluation.save import task, tasks
from video_salmonn.evaluation.whisper_baseline import WhisperDecoder
from video_salmonn.inference.engine import VideoSalmonn

MINI = Path(__file__).parents[2] / "fixtures" / "save-mini"
SECRET = "words only the recogniser wrote"


def installed():
    try:
        return converted(PARTS["whisper-base"]) is not None or all(locate(f) for f in PARTS["whisper-base"].files)
    except MissingPartError:
        return False


needs_whisper = pytest.mark.skipif(not installed(), reason="whisper-base is not installed: video-salmonn setup")


class Recogniser(RuleEngine):
    def answer(self, request, paths):
        got = super().answer(request, paths)
        got.text = SECRET
        return got


class WithRecogniser(RuleEngine):
    def __init__(self, **given):
        super().__init__(**given)
        self.recogniser = Recogniser(name="w")

    def own_decoder(self):
        return self.recogniser


def test_what_it_writes_reaches_no_request_of_the_model(data, tmp_path):
    asked = {}
    for name, baselines in (("with", ("whisper", "no_media", "shuffled")), ("without", ("no_media", "shuffled"))):
        engine = WithRecogniser()
        options = Options(resamples=5, baselines=baselines)
        results = evaluate(engine, tasks("how2,librispeech,avm"), data, tmp_path / name, options)
        asked[name] = engine.asked
    # How2 and LibriSpeech come before the rest of the model's own conditions, so a leak would show in what follows.
    assert asked["with"] == asked["without"]
    assert not any(SECRET in request.question or SECRET in repr(request) for request in asked["with"])
    said = read_predictions(tmp_path / "with/predictions/how2.whisper.jsonl")
    assert {line.prediction for line in said} == {SECRET}
    for file in (tmp_path / "with/predictions").glob("*.jsonl"):
        assert (SECRET in file.read_text()) == file.name.endswith(".whisper.jsonl")
    assert "whisper" not in results["tasks"]["avm"]["baselines"]


def test_left_out_with_a_reason(data, tmp_path):
    entry = evaluate(WithRecogniser(), tasks("avm"), data, tmp_path / "a", Options(resamples=5, baselines=("whisper",)))
    assert entry["tasks"]["avm"]["skipped"] == {"whisper": "the task asks for no transcript"} and not entry["whisper"]
    entry = evaluate(RuleEngine(), tasks("how2"), data, tmp_path / "b", Options(resamples=5, baselines=("whisper",)))
    assert "names no recogniser" in entry["tasks"]["how2"]["skipped"]["whisper"]


def test_a_model_with_another_encoder_has_no_decoder():
    unknown = OwnModel(VideoSalmonn.load("tiny"))
    with pytest.raises(MissingPartError, match="which Whisper") as caught:
        unknown.own_decoder()
    assert "--whisper" in caught.value.remedy
    tiny = OwnModel(unknown.engine, known_whisper=whisper_folder)
    assert isinstance(tiny, HasDecoder)
    with pytest.raises(MissingPartError) as caught:
        tiny.own_decoder()
    assert "tiny" in str(caught.value) or "whisper-base" in str(caught.value)


@pytest.fixture(scope="module")
def small():
    """A random Whisper of the real architecture, small enough to run at once."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=300, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config)


class Numbers:
    """Writes ids as they are."""

    def batch_decode(self, ids, skip_special_tokens):
        return [" ".join(map(str, row.tolist())) for row in ids]


def test_windows_of_thirty_seconds_one_after_the_other(small, monkeypatch, tmp_path):
    import wave

    heard = []
    monkeypatch.setattr(
        small, "generate", lambda mels, **given: heard.append((mels, given)) or torch.arange(len(mels))[:, None]
    )
    for name, seconds in (("long", 61), ("short", 2)):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as out:
            out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
            time = np.arange(16000 * seconds) / 16000
            out.writeframes((np.sin(2 * np.pi * (200 + 100 * (time // 30)) * time) * 9000).astype("<i2").tobytes())
    decoder = WhisperDecoder(small, Numbers(), name="small")
    files = [Media(sound=tmp_path / "long.wav"), Media(), Media(sound=tmp_path / "short.wav")]
    answers = decoder.ask_many([Request(media, "never read", 5) for media in files])
    assert [answer.text for answer in answers] == ["0 1 2", "", "3"], "three windows, nothing, one window"
    ((mels, given),) = heard
    assert mels.shape == (4, 80, 3000), "all windows of a batch go through the encoder once"
    assert given["num_beams"] == 1 and not given["do_sample"] and not given["return_timestamps"]
    assert answers[0].report["media"][0]["heard"]["to"] == pytest.approx(61, abs=0.1)
    assert decoder.ask_many([Request(Media(), "", 5)])[0].text == ""


def test_knows_its_own_encoder(small):
    import copy

    decoder = WhisperDecoder(small, Numbers(), name="small")
    other = copy.deepcopy(small.get_encoder())
    assert decoder.shares_encoder(other) and decoder.shares_encoder(copy.deepcopy(other).to(torch.bfloat16))
    other.conv1.bias.data += 1
    assert not decoder.shares_encoder(other)
    assert (
        decoder.describe()["weights"] == WhisperDecoder(copy.deepcopy(small), Numbers(), name="x").describe()["weights"]
    )


def test_a_folder_without_a_whisper_is_one_clear_error(tmp_path):
    with pytest.raises(MissingPartError, match="no Whisper can be loaded") as caught:
        WhisperDecoder.from_folder(tmp_path)
    assert "whisper-large-v2" in caught.value.remedy


@needs_whisper
def test_the_real_decoder_transcribes_real_speech():
    decoder = WhisperDecoder.from_folder(part_directory("whisper-base"))
    this = task("librispeech")
    entries, located, _ = this.load(MINI)
    (item,) = this.items(entries, located)
    (answer,) = decoder.ask_many([Request(item.media, "Answer with the word banana.", 5)])
    from video_salmonn.metrics.wer import word_errors

    assert word_errors(item.annotation.references[0], answer.text).rate <= 0.2, answer.text
    assert answer.report["media"][0]["heard"]["status"] == "used"
