"""A second question does not run the connector again, and never gets tokens of other media or other weights."""

from pathlib import Path

import pytest
import torch

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.errors import MissingPartError
from video_salmonn.inference.media_store import EncodedMedia
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.inference.token_cache import TokenCache
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.presets import tiny
from video_salmonn.types import Heard, MediaReport, Seen

CLIP = Path(__file__).parents[3] / "examples" / "grid" / "swbo8n.mp4"


@pytest.fixture
def model(monkeypatch):
    made, _ = build_tiny(0)
    made.calls = []
    plain = made.connect_media

    def counted(features, *arguments):
        made.calls.append(len(features))
        return plain(features, *arguments)

    monkeypatch.setattr(made, "connect_media", counted)
    return made.eval()


def sound(model, seed, frames=4):
    generator = torch.Generator().manual_seed(seed)
    config = model.connector.config
    speech, audio = (torch.randn(frames * 25, n, generator=generator) for n in (config.speech_dim, config.audio_dim))
    return encoded(MediaFeatures(speech=speech, audio=audio, sound_frames=frames))


def encoded(features):
    return EncodedMedia(features, MediaReport("noise", 2.0, Seen("absent"), Heard("used", 0.0, 2.0)))


@torch.inference_mode()
def test_known_media_are_not_connected_again(model):
    kept, one, two = TokenCache(model), sound(model, 1), sound(model, 2)
    first = kept.get([one])
    again = kept.get([two, one])
    assert model.calls == [1, 1]
    assert again[1] is first[0] and not torch.equal(again[0], first[0])
    kept.get([one, two])
    assert model.calls == [1, 1]


@torch.inference_mode()
def test_other_streams_levels_or_windows_are_other_tokens(model):
    kept, both = TokenCache(model), sound(model, 1)
    whole = kept.get([both])[0]
    deaf = encoded(MediaFeatures(speech=both.features.speech, sound_frames=both.features.sound_frames))
    for tokens in (kept.get([deaf])[0], kept.get([both], (0,))[0]):
        assert tokens.shape == whole.shape and not torch.equal(tokens, whole)
    assert len(kept.get([both], (), 2)[0]) < len(whole)
    assert len(model.calls) == 4
    assert kept.get([both])[0] is whole and len(model.calls) == 4


def test_changed_weights_make_new_tokens(model):
    kept, one = TokenCache(model), sound(model, 1)
    with torch.inference_mode():
        first = kept.get([one])[0]
    with torch.no_grad():
        model.connector.llm_projection.bias.add_(1.0)
    with torch.inference_mode():
        assert torch.allclose(kept.get([one])[0], first + 1.0, atol=1e-5)


@torch.inference_mode()
def test_memory_is_bounded_and_what_was_used_longest_ago_goes_first(model):
    items = [sound(model, seed) for seed in range(3)]
    (tokens,) = TokenCache(model).get(items[:1])
    kept = TokenCache(model, memory_bytes=2 * tokens.nbytes)
    for item in items:
        kept.get([item])
    assert kept.kept.nbytes == 2 * tokens.nbytes
    calls = len(model.calls)
    kept.get(items[1:])
    assert len(model.calls) == calls
    kept.get(items[:1])
    assert len(model.calls) == calls + 1


@torch.inference_mode()
def test_an_item_asked_for_twice_at_once_is_connected_once(model):
    item = sound(model, 1)
    first, second = TokenCache(model).get([item, item])
    assert first is second and model.calls == [1]


def test_an_engine_connects_a_file_once(monkeypatch):
    try:
        engine = VideoSalmonn.load("embedded")
    except MissingPartError as error:
        pytest.skip(f"the embedded model's parts are not installed: {error}")
    calls, plain = [], engine.model.connect_media
    monkeypatch.setattr(engine.model, "connect_media", lambda *given: calls.append(given) or plain(*given))
    answers = [engine.ask(CLIP, question, max_new_tokens=4).text for question in ("One?", "Two?", "One?")]
    assert len(calls) == 1 and answers[0] == answers[2]


@torch.inference_mode()
def test_a_stretch_is_kept_beside_the_whole(model):
    kept, item = TokenCache(model), sound(model, 1, frames=8)
    whole = kept.get([item])[0]
    first, second = kept.get([item], span=(0, 4))[0], kept.get([item], span=(4, 8))[0]
    assert len(first) + len(second) == len(whole) and len(model.calls) == 3
    again = [kept.get([item])[0], kept.get([item], span=(0, 4))[0], kept.get([item], span=(4, 8))[0]]
    assert all(a is b for a, b in zip(again, (whole, first, second))) and len(model.calls) == 3


@torch.inference_mode()
def test_tokens_that_nobody_asks_for_again_are_not_kept(model):
    connected = TokenCache(model)
    one, other = sound(model, 1), sound(model, 2)
    connected.get([one, other])
    connected.forget([one])
    connected.forget([one])
    assert len(connected.kept) == 1 and connected.kept.nbytes > 0
    connected.get([other])
    connected.get([one])
    assert model.calls == [2, 1]
    connected.forget([one, other])
    assert connected.kept.nbytes == 0


def test_media_of_one_length_asked_about_together_are_connected_in_one_pass():
    config = tiny()
    config.qformer_config = None  # else what is seen depends on the question
    config.connector_config.visual_tokens = 5
    engine = VideoSalmonn(*build_tiny(config=config))
    media = [sound(engine.model, seed, frames) for seed, frames in enumerate((4, 6, 4, 4))]
    alone = [engine.ask(one, "What is heard?", max_new_tokens=4).text for one in media]
    calls, plain = [], engine.model.connect_media

    def counted(features, *arguments):
        calls.append([item.sound_frames for item in features])
        return plain(features, *arguments)

    engine.preparer.tokens = TokenCache(engine.model)
    engine.model.connect_media = counted
    asked = [MediaQuestion("What is heard?", [one], {"max_new_tokens": 4}) for one in media]
    assert [one.text for one in engine.batch(asked)] == alone
    assert sorted(calls) == [[4, 4, 4], [6]]
