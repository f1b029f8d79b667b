"""A visitor's clip on the desk: opened, asked about, written down, forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving_client import CLIP, EXAMPLES
from video_salmonn.errors import ConfigError, LimitError, MediaError
from video_salmonn.serving.settings import ServerSettings
from video_salmonn.serving.web.talk import Desk

MEDIA = Path(__file__).parents[3] / "fixtures" / "media"


@pytest.fixture
def make(tiny, tmp_path):
    """A desk with settings of a test's own."""
    made = []

    def desk(**settings):
        options = {"keys": ("a-test-key",), "max_new_tokens": 5, **settings}
        made.append(Desk(tiny, ServerSettings(**options), tmp_path / f"clips{len(made)}"))
        return made[-1]

    yield desk
    for one in made:
        one.close()
        assert not one.folder.exists()


@pytest.fixture(scope="module")
def shared(tiny, tmp_path_factory):
    """A desk and a clip on it, for tests that only ask."""
    desk = Desk(tiny, ServerSettings(keys=("a-test-key",), max_new_tokens=5), tmp_path_factory.mktemp("web") / "clips")
    yield desk, desk.open(CLIP)
    desk.close()


def answered(pieces):
    """The pieces of a stream, and its answer."""
    found = []
    while True:
        try:
            found.append(next(pieces))
        except StopIteration as end:
            return found, end.value


def test_answers_are_the_engines_over_several_turns_and_the_clip_is_encoded_once(tiny, shared):
    desk, talk = shared
    expected = tiny.chat(CLIP, max_new_tokens=5)
    talk.session.reset()
    questions = ("What is said?", "And what is seen?")
    texts = [expected.ask(question).text for question in questions]  # the engine's own chat encodes its own file
    count = tiny.media.encoded
    for question, text in zip(questions, texts, strict=True):
        pieces, answer = answered(desk.ask(talk, question))
        assert answer.text == text and "".join(pieces) == answer.text
    assert tiny.media.encoded == count, "the clip was encoded when it was opened"
    assert [one["role"] for one in talk.session.messages] == ["user", "assistant"] * 2


def test_an_answer_that_is_stopped_joins_no_conversation_and_frees_the_model(tiny, shared):
    desk, talk = shared
    talk.session.reset()
    pieces = desk.ask(talk, "What is said?")
    next(pieces)
    pieces.close()
    assert talk.session.messages == []
    assert tiny.lock.acquire(blocking=False)
    tiny.lock.release()


def test_the_page_plays_the_file_by_its_token_and_names_no_place_of_this_machine(shared):
    _, talk = shared
    html = talk.page("http://127.0.0.1:7860", "tell()")
    assert f'src="/media/{talk.token}"' in html and "<script>tell()</script>" in html
    assert "media-src data: http://127.0.0.1:7860;" in html and html.count("sha256-") == 2
    assert "6 frames were looked at" in html and "The sound was listened to" in html
    assert str(talk.path.parent) not in html and str(EXAMPLES) not in html and "swbo8n.mp4" in html


def test_the_transcript_is_the_engines_and_its_lines_send_the_player_there(tiny, shared):
    desk, talk = shared
    expected = tiny.transcribe(CLIP)
    assert desk.transcribe(talk, "model").text == expected.text
    html = talk.page()
    assert "Transcript" in html and f'data-from="{expected.segments[0].start:.3f}"' in html
    with pytest.raises(ConfigError, match="decoder"):
        desk.transcribe(talk, "somebody")


def test_questions_are_checked(shared):
    desk, talk = shared
    for question in ("", "  "):
        with pytest.raises(ConfigError, match="no question"):
            next(desk.ask(talk, question))
    with pytest.raises(ConfigError, match="characters"):
        next(desk.ask(talk, "a" * 200_001))


def test_pictures_and_sounds_are_opened_too(make):
    desk = make()
    picture = desk.open(EXAMPLES / "shirt.jpg")
    assert picture.player.main is None and "The picture was looked at." in picture.page()
    sound = desk.open(EXAMPLES / "helicopter.flac")
    assert sound.player.main.mime == "audio/flac" and "There is no picture." in sound.page()


def test_bad_files_get_one_clear_error_that_names_them_and_leave_nothing(make, tmp_path):
    desk = make(max_body_bytes=200_000)
    text = tmp_path / "notes <b>.mp4"
    text.write_text("not a video")
    with pytest.raises(MediaError, match=r"notes <b>\.mp4"):
        desk.open(text)
    with pytest.raises(MediaError, match=r"gone\.mp4"):
        desk.open(tmp_path / "gone.mp4")
    large = tmp_path / "large.wav"
    large.write_bytes(b"RIFF" + bytes(300_000))
    with pytest.raises(LimitError, match=r"large\.wav"):
        desk.open(large)
    assert list(desk.folder.iterdir()) == []


def test_files_are_deleted_when_forgotten_and_when_unused_for_long(make, tmp_path):
    desk = make(max_files=2)
    upload = tmp_path / "upload.jpg"
    shutil.copyfile(EXAMPLES / "shirt.jpg", upload)
    first = desk.open(upload)
    upload.unlink()
    assert first.path.is_file() and desk.find(first.token) is first
    desk.forget(first)
    assert not first.path.exists() and desk.find(first.token) is None
    old, new = desk.open(EXAMPLES / "shirt.jpg"), desk.open(EXAMPLES / "shirt.jpg")
    with pytest.raises(LimitError, match="too many clips"):
        desk.open(EXAMPLES / "shirt.jpg")
    old.used -= desk.settings.file_seconds + 1
    desk.sweep()
    assert not old.path.exists() and desk.find(old.token) is None and desk.find(new.token) is new
