"""``inspect`` from file to page and picture, with the tiny model: facts, modalities, hostile names, errors."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import wave
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.cli.main import app
from video_salmonn.connector import ConnectorConfig, ConnectorOutput
from video_salmonn.errors import ConfigError, ContextError
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inspection import inspecting, player
from video_salmonn.inspection.comparison import Condition, conclude
from video_salmonn.inspection.cosine_scene import cosine_scene
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.inspection.layout import NARROW, WIDE
from video_salmonn.inspection.player import player_of
from video_salmonn.inspection.scene import Picture, readable, shorten, width_of
from video_salmonn.inspection.timeline_html import to_html
from video_salmonn.inspection.timeline_scene import timeline_scene

MEDIA = Path(__file__).parent.parent / "fixtures" / "media"
BUNNY, FLOWER, GRID, NASA = (
    MEDIA / name for name in ("big_buck_bunny_small.mp4", "flower.webm", "lbax4n.mpg", "nasa_13013.mp4")
)
QUESTION = "What is said?"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every element must be closed in order. Keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


@pytest.fixture(scope="module")
def engine():
    torch.set_num_threads(1)
    return VideoSalmonn.load("tiny")


@pytest.fixture(scope="module")
def spoken(engine):
    return inspect_media(engine, str(GRID), question=QUESTION, max_new_tokens=12)


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    samples = (np.sin(np.arange(3 * 16000) * 0.2) * 12000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(np.tile(np.arange(160, dtype=np.uint8), (90, 1))).convert("RGB").save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


# ------------------------------------------------------------------------------------------------------------- data


def test_timeline_agrees_with_ask(engine, spoken):
    answer = engine.ask(str(GRID), QUESTION, max_new_tokens=12)
    report = answer.report
    assert spoken.comparison.answer == answer.text
    assert spoken.comparison.prompt_tokens == report["prompt_tokens"]
    assert spoken.tokens.given == report["media_tokens"] == 18
    assert spoken.comparison.conditions[0].media_tokens == report["media_tokens"]
    seen = {k: v for k, v in report["media"][0].items() if k != "reused"}
    assert spoken.report.to_dict() == seen
    assert set(report["seconds"]) <= set(spoken.seconds)
    assert spoken.seconds["encode"] > 0 and spoken.seconds["generate"] > 0


def test_timeline_times(spoken):
    np.testing.assert_allclose(spoken.sight.times, np.arange(6) / 2)
    assert spoken.real_end == 3.0 and spoken.axis_end == 5.0
    (segment,) = spoken.sound.segments
    assert segment.start == 0 and abs(segment.end - spoken.report.heard.end) < 1e-3 and segment.padded_end == 10
    fine, coarse = spoken.levels
    assert fine.real.tolist() == [True] * 6 + [False] * 4 and coarse.real.tolist() == [True]
    assert spoken.tokens.kept.tolist() == [True] * 18 + [False] * 12
    assert spoken.tokens.seconds == pytest.approx(1 / 6)
    thumbnail = spoken.sight.thumbnails[0].picture
    assert thumbnail.shape[1] / thumbnail.shape[0] == pytest.approx(360 / 288, rel=0.02)
    assert thumbnail.shape[0] > 100  # decoded again: the tiny model itself sees 28 pixels


def test_conditions_take_away_what_they_say(engine, spoken):
    conditions = {c.name: c for c in spoken.comparison.conditions}
    assert list(conditions) == ["full", "no_sound", "no_picture", "zeroed", "no_media"]
    assert conditions["full"].same and conditions["no_media"].media_tokens == 0
    assert conditions["zeroed"].media_tokens == 18
    for option, name in (("no_audio", "no_sound"), ("no_video", "no_picture")):
        alone = engine.ask(str(GRID), QUESTION, max_new_tokens=12, **{option: True})
        assert alone.text == conditions[name].answer, name
    assert engine.ask(None, QUESTION, max_new_tokens=12).text == conditions["no_media"].answer
    assert all(c.log_probability < 0 for c in conditions.values())


def test_media_without_a_sense_have_tokens_of_their_own(engine, monkeypatch):
    """The connector's tokens are kept by an item's key: one with the sound taken away must not get the whole item's."""
    asked, batch = [], engine.batch
    monkeypatch.setattr(engine, "batch", lambda items: asked.extend(items) or batch(items))
    inspect_media(engine, str(BUNNY), question=QUESTION, max_new_tokens=2, end=1)
    whole, deaf, blind, zeroed = (item.media[0] for item in asked if item.media)
    assert len({whole.key, deaf.key, blind.key}) == 3 and zeroed.key == whole.key
    assert deaf.features.speech is None and blind.features.visual is None


def test_log_probability_is_that_of_the_answer_and_its_end(engine, spoken):
    """Under each condition, one forward pass over prompt, answer and end token gives the same figure."""
    model, processor = engine.model, engine.processor
    features = engine.encode([str(GRID)])[0].features
    media = {"full": features, "no_sound": features.without(sound=True), "no_picture": features.without(sight=True)}
    with torch.inference_mode():
        for condition in spoken.comparison.conditions:
            tokens = torch.zeros(0, model.connector.config.llm_dim)
            if condition.name != "no_media":
                levels = (0, 1) if condition.name == "zeroed" else ()
                kept = media.get(condition.name, features)
                tokens = model.connect_media([kept], processor.instruction([QUESTION]), levels).tokens[0]
            turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": spoken.comparison.answer}]
            whole = processor.render(turns, [len(tokens)] if len(tokens) else [], add_generation_prompt=False)
            ids, labels = torch.tensor([whole.input_ids]), torch.tensor([whole.labels])
            logits = model(inputs_embeds=model.embed(ids, tokens), attention_mask=torch.ones_like(ids)).logits
            told = logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0][labels[0, 1:] != -100]
            assert condition.log_probability == pytest.approx(float(told.mean()), abs=1e-4), condition.name
            assert len(told) == spoken.comparison.answer_tokens


def test_the_answer_is_that_of_ask_also_where_ctc_decodes_with_it():
    model, processor = build_tiny()
    model.set_words([6, *range(7, 384)])
    model.generation_config.joint_ctc = "auto"
    speaker = VideoSalmonn(model, processor)
    sound = (np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32), 16_000)
    timeline = inspect_media(speaker, sound, question=QUESTION, max_new_tokens=12)
    answer = speaker.ask(sound, QUESTION, max_new_tokens=12)
    assert answer.report["joint_ctc"] and timeline.comparison.joint
    assert timeline.words.answered and timeline.words.text == " ".join(answer.text.split())
    assert timeline.comparison.answer == answer.text
    assert answer.text != speaker.ask(sound, QUESTION, max_new_tokens=12, joint_ctc="off").text


def test_long_media_are_answered_in_pieces_as_ask_does(engine):
    sound = (np.random.default_rng(0).normal(0, 0.1, 5 * 16_000).astype(np.float32), 16_000)
    timeline = inspect_media(engine, sound, question="Is it loud?", max_new_tokens=4, piece_seconds=2.5)
    answer = engine.ask(sound, "Is it loud?", max_new_tokens=4, piece_seconds=2.5)
    assert timeline.comparison.answer == answer.text and len(timeline.comparison.pieces) > 1
    assert list(timeline.comparison.pieces) == answer.report["pieces"]
    assert all(condition.log_probability is None for condition in timeline.comparison.conditions)
    assert "drawn for the whole clip" in Page(to_html(timeline)).text


def test_what_was_encoded_before_is_not_encoded_again(engine):
    engine.ask(str(BUNNY), QUESTION, max_new_tokens=2, end=1)
    before = engine.media.encoded
    timeline = inspect_media(engine, str(BUNNY), question=QUESTION, max_new_tokens=2, end=1)
    assert engine.media.encoded == before
    assert timeline.sight is not None and timeline.seconds["encode"] == 0


def test_cosines_against_brute_force(monkeypatch):
    """Maps, with and without grouping, from their definition."""
    torch.manual_seed(3)
    config = ConnectorConfig(hidden_size=32, num_attention_heads=4)
    levels = tuple(torch.randn(1, w, n, 32) for w, n in ((20, 3), (2, 30)))
    masks = (torch.arange(20)[None] < 14, torch.ones(1, 2, dtype=torch.bool))
    output = ConnectorOutput(torch.zeros(1, 60, 8), torch.ones(1, 60).bool(), torch.zeros(1, 60, 64), levels, masks)
    view = inspecting.level_view(config, output, 0, 1)
    real = levels[0][0, :14]
    cosine = F.cosine_similarity(real[:, None, :, None], real[None, :, None, :], dim=-1)  # (14, 14, 3, 3)
    between = torch.diagonal(cosine, dim1=2, dim2=3).mean(-1)
    inside = torch.diagonal(cosine, dim1=0, dim2=1).mean(-1)
    np.testing.assert_allclose(view.windows_map, between, atol=1e-5)
    np.testing.assert_allclose(view.queries_map, inside, atol=1e-5)
    own = torch.diagonal(cosine, dim1=0, dim2=1)  # (3, 3, 14)
    np.testing.assert_allclose(view.within[:14], (own.sum((0, 1)) - 3) / 6, atol=1e-5)
    assert np.isnan(view.within[14:]).all()
    assert view.neighbours == pytest.approx(float(torch.diagonal(between, 1).mean()), abs=1e-5)

    monkeypatch.setattr(inspecting, "CELLS", 7)
    grouped = inspecting.level_view(config, output, 0, 1)
    assert grouped.grouped == 2 and grouped.windows_map.shape == (7, 7)
    blocks = between.view(7, 2, 7, 2).mean((1, 3))
    np.testing.assert_allclose(grouped.windows_map, blocks, atol=1e-5)


@pytest.mark.parametrize(
    ("same", "expected", "words"),
    [
        ({"zeroed", "no_sound"}, "not shown", "nothing here shows"),
        ({"no_media"}, "not shown", "no media at all"),
        ({"no_sound", "no_picture"}, "either", "either of the two"),
        ({"no_picture"}, "sound", "rested on the sound"),
        ({"no_sound"}, "picture", "rested on the picture"),
        (set(), "both", "depend on both"),
    ],
)
def test_conclusion(same, expected, words):
    names = ("full", "no_sound", "no_picture", "zeroed", "no_media")
    conditions = [Condition(n, "a", n == "full" or n in same, 3, -1.0 if n != "no_sound" else -2.0) for n in names]
    rests_on, finding = conclude(conditions, "picture")
    assert rests_on == expected and words in finding
    assert ("only just" in finding) == (expected == "picture")  # it costs the answer nothing; the sound costs 1
    if not same:
        assert "less likely without the sound" in finding and "−2.00" in finding


def test_conclusion_for_one_modality():
    conditions = [Condition(n, "a", n == "full", 3, None) for n in ("full", "zeroed", "no_media")]
    assert conclude(conditions, "sound")[0] == "sound"


def test_long_media_refuse_or_stretch(engine, wav, monkeypatch):
    monkeypatch.setattr(engine.model.config.text_config, "max_position_embeddings", 60)
    with pytest.raises(ContextError, match="do not fit the context of 60"):
        inspect_media(engine, str(wav), question="Eh?", max_new_tokens=16)
    coarse = inspect_media(engine, str(wav), question="Eh?", max_new_tokens=16, long="coarse")
    assert coarse.coarseness > 1 and coarse.levels[0].seconds == 0.5 * coarse.coarseness
    assert coarse.tokens.given < 18 and "windows are" in coarse.warnings[0]
    assert "windows are" in Page(to_html(coarse)).text


def test_bad_options(engine):
    for options in ({"long": "segments"}, {"question": "  "}, {"nonsense": 1}, {"max_new_tokens": 0}):
        with pytest.raises(ConfigError):
            inspect_media(engine, str(GRID), **options)


# ------------------------------------------------------------------------------------------------------------- page


def test_page_holds_the_facts(spoken):
    text = to_html(spoken)
    page = Page(text)
    for fact in (
        "lbax4n.mpg",
        "6 frames seen",
        "18 media tokens",
        "12 trimmed (padding)",
        "10 windows of 0.5 s",
        "1 window of 5 s",
        "sound heard 0.00–2.98 s",
        "mpeg1video",
        "44100 Hz, stereo",
        QUESTION,
        "sound taken away",
        "picture taken away",
        "connector outputs set to zero",
        "no media at all",
        spoken.comparison.finding,
        "random weights",
    ):
        assert fact in page.text, fact
    assert all(f"{spoken.seconds[stage]:.3f} s" in page.text for stage in ("decode", "encode", "total"))
    assert page.count("svg") == 2 * 2 + 1 and page.count("image") >= 3 + 4
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    kept = {attrs["id"] for tag, attrs in page.tags if tag == "symbol"}
    shown = [attrs["href"] for tag, attrs in page.tags if tag == "use"]
    assert {name.removeprefix("#") for name in shown} == kept and len(shown) > len(kept)
    sources = [attrs[k] for tag, attrs in page.tags for k in ("href", "src") if k in attrs and tag != "use"]
    assert sources and all(source.startswith("data:image/") for source in sources)
    drawings = [attrs for tag, attrs in page.tags if tag == "svg" and attrs["class"] != "store"]
    assert [attrs["class"] for attrs in drawings] == ["wide", "narrow"] * 2
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    assert "10 windows of 0.5 s, of which 4 padding" in drawings[0]["aria-label"]
    assert "@media (prefers-color-scheme:dark)" in text and len(text) < 600_000


def test_the_answer_stands_on_top_with_its_caveat(spoken):
    text = Page(to_html(spoken)).text
    places = [
        text.index(fact)
        for fact in (
            spoken.comparison.answer,
            spoken.comparison.finding,
            "The tiny model has random weights",
            "On one time axis",
            "What did the answer rest on?",
            "How alike are",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("layout", [WIDE, NARROW])
@pytest.mark.parametrize("scene_of", [timeline_scene, cosine_scene])
def test_nothing_runs_off_the_drawing(spoken, layout, scene_of):
    """Labels stay left of the lanes, or above them, and every shape within the canvas."""
    scene = scene_of(spoken, layout)
    for shape in scene.shapes:
        if hasattr(shape, "text"):
            wide = width_of(shape.text, shape.size) * 0.9
            left = shape.x - {"start": 0, "middle": wide / 2, "end": wide}[shape.anchor]
            assert left >= -1 and left + wide <= scene.width + 12, shape
            assert 0 <= shape.y <= scene.height, shape
            if shape.x == 0 and scene_of is timeline_scene:
                assert wide < (layout.width if layout.stacked else layout.left), shape
        elif hasattr(shape, "height"):
            assert shape.x >= 0 and shape.x + shape.width <= scene.width + 1 and shape.y + shape.height <= scene.height


def test_silent_track(engine):
    page = Page(to_html(inspect_media(engine, str(FLOWER)))).text
    assert "sound track silent" in page and "silence: the track is there" in page


def test_two_of_each_and_modality_off(engine):
    timeline = inspect_media(engine, str(NASA), no_audio=True, end=4.0)
    page = Page(to_html(timeline)).text
    assert "2 video streams" in page and "not used" in page and "not heard: off" in page
    assert "end=4" in page  # the cut
    assert timeline.sound is None and [len(level.real) for level in timeline.levels] == [10, 1]


def test_sound_only(engine, wav):
    timeline = inspect_media(engine, str(wav), question=QUESTION, max_new_tokens=6)
    assert [c.name for c in timeline.comparison.conditions] == ["full", "zeroed", "no_media"]
    page = Page(to_html(timeline)).text
    assert "not seen: absent" in page and timeline.sight is None
    assert timeline.sound.peak == pytest.approx(12000 / 32768, abs=1e-3)


def test_picture_only_and_with_a_separate_sound(engine, photo, wav):
    alone = inspect_media(engine, str(photo))
    assert "a picture, shown for 5 s" in Page(to_html(alone)).text and alone.tokens.given == 30
    both = inspect_media(engine, str(photo), sound=str(wav))
    assert both.sight.still_frames == 6 and both.tokens.given == 18
    assert "tone.wav" in Page(to_html(both)).text


@pytest.mark.parametrize("layout", [WIDE, NARROW])
@pytest.mark.parametrize("end", [0.5, 1.0, 2.5])
def test_no_thumbnail_reaches_into_the_padding(engine, layout, end):
    timeline = inspect_media(engine, str(BUNNY), no_audio=True, end=end)
    scene = timeline_scene(timeline, layout)
    pictures = [shape for shape in scene.shapes if isinstance(shape, Picture) and shape.photo]
    border = layout.left + timeline.real_end / timeline.axis_end * layout.plot
    assert timeline.real_end < timeline.axis_end and pictures
    assert max(shape.x + shape.width for shape in pictures) <= border + 0.01
    assert all(left.x + left.width <= right.x for left, right in pairwise(pictures))


def test_a_small_file_is_played_within_the_page_and_a_larger_one_from_its_place(engine, tmp_path, monkeypatch):
    media = tmp_path / "a folder" / "50% of #1?.mp4"
    media.parent.mkdir()
    shutil.copy(BUNNY, media)
    page, out = tmp_path / "pages" / "page.html", tmp_path / "pages"
    timeline = inspect_media(engine, str(media), start=0.5, end=1.5)
    inside = Page(to_html(timeline, player_of(timeline, str(media), None, page)))
    (video,) = [attrs for tag, attrs in inside.tags if tag == "video"]
    assert video["src"].startswith("data:video/mp4;base64,") and "controls" in video and video["aria-label"]
    assert base64.b64decode(video["src"].partition(",")[2]) == BUNNY.read_bytes()
    assert (video["data-offset"], video["data-end"]) == ("0.5", "1")

    monkeypatch.setattr(player, "EMBEDDED", 1000)
    linked = Page(to_html(timeline, player_of(timeline, str(media), None, page)))
    (video,) = [attrs for tag, attrs in linked.tags if tag == "video"]
    assert video["src"] == "./../a%20folder/50%25%20of%20%231%3F.mp4"
    assert (out / unquote(video["src"])).resolve() == media.resolve()
    assert "keep page and file at their places" in linked.text
    assert sum(attrs.get("class") == "playhead" for _, attrs in linked.tags) == 2
    assert "larger than" in Page(to_html(timeline, player_of(timeline, str(media)))).text


def test_the_page_allows_its_one_script_and_nothing_of_the_network(engine):
    timeline = inspect_media(engine, str(BUNNY), end=1)
    text = to_html(timeline, player_of(timeline, str(BUNNY)))
    page = Page(text)
    assert page.count("script") == 1
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv")]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy and "http" not in policy
    assert "http" not in script.lower() and not re.search(r"(?:src|href)=.?https?:", text)


def test_a_separate_sound_plays_along_and_the_files_own_is_muted(engine, wav):
    timeline = inspect_media(engine, str(BUNNY), sound=str(wav), end=1)
    page = Page(to_html(timeline, player_of(timeline, str(BUNNY), str(wav))))
    (video,) = [attrs for tag, attrs in page.tags if tag == "video"]
    (audio,) = [attrs for tag, attrs in page.tags if tag == "audio"]
    assert "muted" in video and audio["id"] == "player-sound" and audio["src"].startswith("data:audio/wav;")


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (str(GRID), None, "Browsers do not play files of this kind"),
        ("https://example.org/clip.mp4", None, "fetches nothing"),
        (object(), None, "are not a file"),
        (str(FLOWER), "video/webm", ""),
        (FLOWER.read_bytes(), "video/webm", ""),
    ],
)
def test_what_is_played_and_why_not(spoken, source, kind, words):
    found = player_of(spoken, source)
    assert (None if found.main is None else found.main.mime) == kind and words in found.reason


def test_sound_and_pictures_have_players_of_their_own(engine, wav, photo):
    sound = inspect_media(engine, str(wav))
    assert Page(to_html(sound, player_of(sound, str(wav)))).count("audio") == 1
    picture = inspect_media(engine, str(photo))
    page = Page(to_html(picture, player_of(picture, str(photo))))
    assert page.count("audio") == page.count("video") == 0 and "A picture is not played" in page.text
    both = inspect_media(engine, str(photo), sound=str(wav))
    assert player_of(both, str(photo), str(wav)).main.mime == "audio/wav"


def test_words_stand_at_their_times_and_can_be_chosen(engine):
    model, processor = build_tiny()
    model.set_words([6, *range(7, 384)])
    speaker = VideoSalmonn(model, processor)
    timeline = inspect_media(speaker, str(BUNNY), end=2)
    assert timeline.words.words and timeline.to_dict()["words"][0].keys() == {"text", "from", "to"}
    page = Page(to_html(timeline, player_of(timeline, str(BUNNY))))
    chosen = [attrs for tag, attrs in page.tags if tag == "button"]
    assert [float(attrs["data-from"]) for attrs in chosen] == pytest.approx(
        [word.start for word in timeline.words.words], abs=1e-3
    )
    silent = inspect_media(speaker, str(BUNNY), no_audio=True, end=1)
    assert silent.words is None and inspect_media(engine, str(BUNNY), end=1).words is None
    assert "spells no words" in Page(to_html(inspect_media(engine, str(BUNNY), end=1))).text


def test_mirror_images_are_not_called_diverse(spoken):
    """A level whose outputs are one direction with alternating signs: mean near 0, absolute cosine 1."""
    rows = torch.randn(1, 1, 8, 16)[:, :, :1] * torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    config = ConnectorConfig(hidden_size=16, num_attention_heads=4)
    masks = (torch.ones(1, 1, dtype=torch.bool),)
    output = ConnectorOutput(torch.zeros(1, 8, 8), torch.ones(1, 8).bool(), torch.zeros(1, 8, 16), (rows,), masks)
    view = inspecting.level_view(config, output, 0, 1)
    assert view.mean_within == pytest.approx(-1 / 7, abs=1e-6) and view.mean_absolute == pytest.approx(1, abs=1e-6)
    assert view.mirrored
    text = Page(to_html(replace(spoken, levels=(view,)))).text
    assert "reads as diverse" in text and "absolute cosine is 1.00" in text and "absolute 1.00" in text
    alike = replace(view, within=np.ones(1), absolute=np.ones(1))
    assert not alike.mirrored and "reads as diverse" not in Page(to_html(replace(spoken, levels=(alike,)))).text


def test_maps_have_one_fixed_scale(spoken):
    """The same cosine has the same colour in any map of any clip."""
    even = np.full((4, 4), 0.5)
    shades = set()
    for spread in (0.0, 0.4):
        windows = even + np.diag([spread, 0, 0, 0])
        level = replace(spoken.levels[0], windows_map=windows, queries_map=even[:3, :3])
        scene = cosine_scene(replace(spoken, levels=(level,)))
        maps = [shape for shape in scene.shapes if isinstance(shape, Picture) and shape.height == shape.width]
        shades |= {tuple(picture.pixels[2, 2]) for picture in maps}
    assert len(shades) == 1


# --------------------------------------------------------------------------------------------------------- commands


def test_command_writes_png_of_the_right_size(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "picture.png"
    arguments = (BUNNY, "--out", out, "--model", "tiny", "--end", "1.5", "--question", "Who?", "--max-new-tokens", "4")
    result = run(*arguments, "--scale", "1.5")
    assert result.exit_code == 0, result.output
    with Image.open(io.BytesIO(out.read_bytes())) as image:
        image.load()
        assert image.format == "PNG" and image.width == 1950 and 1500 < image.height < 3900
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 500


def test_command_json(tmp_path):
    out = tmp_path / "page.html"
    result = run(GRID, "--out", out, "--model", "tiny", "--question", QUESTION, "--max-new-tokens", 4, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["out"] == str(out) and value["bytes"] == out.stat().st_size
    assert value["media_tokens"] == 18 and value["trimmed_tokens"] == 12
    assert value["media"][0]["seen"]["frames"] == 6
    assert [level["padding_windows"] for level in value["levels"]] == [4, 0]
    assert value["question"]["conditions"]["full"]["answer"] == value["question"]["answer"]
    assert value["question"]["rests_on"] in ("sound", "picture", "both", "either", "not shown")


SHORT = ("--end", "1", "--max-new-tokens", "4")
HOSTILE = "<img src=x onerror=alert(1)>&\"'$\\frac{1}\u202e\x07中.mpg"


def test_hostile_names_stay_names(tmp_path):
    media, out = tmp_path / HOSTILE, tmp_path / "page.html"
    shutil.copy(GRID, media)
    result = run(media, "--out", out, "--model", "tiny", "--question", "<script>alert(2)</script>", *SHORT)
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.count("script") == page.count("img") == 0
    assert "<img src=x onerror=alert(1)>&\"'$\\frac{1}\\u202e\\u0007中.mpg" in page.text
    assert "<script>alert(2)</script>" in page.text
    assert not {"\u202e", "\x07"} & set(text)
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)
    pytest.importorskip("matplotlib")
    assert run(media, "--out", tmp_path / "picture.png", "--model", "tiny", *SHORT).exit_code == 0


def test_name_that_is_no_unicode(tmp_path):
    media = os.fsencode(tmp_path) + b"/bad\xff.mpg"
    try:
        shutil.copy(GRID, media)
    except OSError:
        pytest.skip("this file system only takes Unicode names")
    out = tmp_path / "page.html"
    result = run(os.fsdecode(media), "--out", out, "--model", "tiny", "--end", "1", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["media"][0]["source"].endswith("bad\udcff.mpg")
    assert "bad\\udcff.mpg" in Page(out.read_text(encoding="utf-8")).text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mp4", "--out", "page.html"], "nowhere.mp4"),
        ([GRID, "--out", "page.pdf"], "end its name in .html or .png"),
        ([GRID, "--out", "copy.png/page.html"], "not a folder"),
        ([GRID, "--out", "page.html", "--start", "99"], "start=99"),
        ([GRID, "--out", "page.html", "--no-audio", "--no-video"], "nothing to look at"),
        ([GRID, "--out", "page.html", "--question", " "], "question is empty"),
        (["copy.png", "--out", "copy.png"], "media file itself"),
        ([GRID, "--out", "page.html", "--model", "no-such-model"], "no-such-model"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, monkeypatch, photo, arguments, words):
    monkeypatch.chdir(tmp_path)
    Image.open(photo).save("copy.png")
    before = Path("copy.png").read_bytes()
    model = [] if "--model" in arguments else ["--model", "tiny"]
    result = run(*arguments, *model, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert words in error["message"] + error["remedy"]
    assert not Path("page.html").exists() and Path("copy.png").read_bytes() == before


def test_readable_and_shorten():
    assert readable("a\nb\x00\u2066é中\udcff") == "a b\\u0000\\u2066é中\\udcff"
    assert shorten("short", 100) == "short"
    long = shorten("a" * 50 + "b" * 50, 200)
    assert long.startswith("a") and long.endswith("b") and "…" in long and width_of(long) <= 200
