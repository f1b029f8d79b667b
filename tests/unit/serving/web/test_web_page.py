"""What happens on the page, by its handlers and the routes behind it; Gradio itself runs here where it is installed."""

from __future__ import annotations

import re
import shutil

import pytest

pytest.importorskip("gradio", reason="Gradio is not installed: make test-web")

from serving_client import CLIP, EXAMPLES
from video_salmonn.errors import ConfigError, VideoSalmonnError
from video_salmonn.serving.settings import ServerSettings
from video_salmonn.serving.web import page
from video_salmonn.serving.web.app import examples_in, own_examples
from video_salmonn.serving.web.talk import Desk


@pytest.fixture(scope="module")
def handlers(tiny, tmp_path_factory):
    settings = ServerSettings(keys=("a-test-key",), max_new_tokens=6)
    desk = Desk(tiny, settings, tmp_path_factory.mktemp("web") / "clips")
    yield page.Handlers(desk, {"swbo8n": CLIP})
    desk.close()


@pytest.fixture(scope="module")
def token(handlers):
    return list(handlers.picked("swbo8n", ""))[-1][0]


def test_an_upload_is_opened_shown_and_its_own_copy_deleted(handlers, tmp_path):
    upload = tmp_path / "a <i>shirt.jpg"
    shutil.copyfile(EXAMPLES / "shirt.jpg", upload)
    steps = list(handlers.opened(str(upload), ""))
    token, said, clip, chat = steps[-1]
    assert "Looking" in steps[0][1] and chat == [] and not upload.exists()
    assert "a &lt;i&gt;shirt.jpg" in said and f'src="/view/{token}' in clip and "<i>" not in said
    next_token = list(handlers.picked("swbo8n", token))[-1][0]
    assert handlers.desk.find(token) is None  # a visitor has one clip
    handlers.forget(next_token)
    assert list(handlers.opened(None, "")) == [] and list(handlers.picked("../secret", "")) == []


def test_a_bad_upload_gets_one_sentence(handlers, tmp_path):
    upload = tmp_path / "notes.mp4"
    upload.write_text("not a video")
    token, said, clip, _ = list(handlers.opened(str(upload), ""))[-1]
    assert (token, clip) == ("", "") and "vs-failed" in said and "notes.mp4" in said
    assert str(tmp_path) not in said and not upload.exists()


def test_the_answer_grows_and_is_the_engines_with_its_account(tiny, handlers, token):
    handlers.again(token)
    expected = tiny.chat(CLIP, max_new_tokens=6)
    for turn, question in enumerate(("What is said?", "And what is seen?"), 1):
        steps = list(handlers.asked(question, token))
        box, chat, said = steps[-1]
        assert box == "" and chat[-2] == {"role": "user", "content": question}
        assert chat[-1] == {"role": "assistant", "content": expected.ask(question).text}
        assert len(chat) == 2 * turn and "media tokens" in said and "random weights" not in said  # above the page it is
        sizes = [len(shown[-1]["content"]) for _, shown, _ in steps[1:]]
        assert sizes == sorted(sizes)
    assert handlers.again(token)[0] == [] and handlers.desk.find(token).session.messages == []


def test_a_stopped_answer_is_marked_and_the_next_question_does_not_see_it(handlers, token):
    handlers.again(token)
    steps = handlers.asked("What is said?", token)
    next(steps), next(steps)
    steps.close()
    talk = handlers.desk.find(token)
    assert talk.session.messages == [] and talk.shown[-1]["content"].endswith("(stopped)")
    chat = list(handlers.asked("And now?", token))[-1][1]
    assert len(chat) == 4 and len(talk.session.messages) == 2


def test_without_a_clip_or_a_question_the_page_says_what_to_do(handlers, token):
    assert "Drop a file" in list(handlers.asked("What?", "nobody"))[-1][2]
    assert "question first" in list(handlers.asked("  ", token))[-1][2]
    assert "no clip" in list(handlers.transcribed("model", "nobody"))[-1][1]


def test_the_transcript_appears_on_the_clips_page(handlers, token):
    clip, said = list(handlers.transcribed("model", token))[-1]
    assert "?v=0" not in clip and "line" in said
    assert "Transcript" in handlers.desk.find(token).page()
    clip, said = list(handlers.transcribed("whisper", token))[-1]
    assert "vs-failed" in said  # the tiny model comes without its encoder's decoder


def test_an_error_is_told_with_its_remedy():
    assert page.told(ConfigError("a is b", remedy="give c")) == "a is b. Give c."
    assert page.told(ConfigError("a is b")) == "a is b. Correct this option or key."
    assert page.told(VideoSalmonnError("a is b")) == "a is b."


def test_examples_are_the_media_of_a_folder(tmp_path):
    assert examples_in(None) == {} and examples_in(tmp_path / "none") == {}
    (tmp_path / "below").mkdir()
    for name in ("b.mp4", "a.FLAC", "notes.txt", "below/c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert list(examples_in(tmp_path)) == ["a.FLAC", "b.mp4", "below/c.jpg"]
    assert own_examples() == EXAMPLES and "shirt.jpg" in examples_in(EXAMPLES)


def test_the_page_is_built_without_fonts_or_scripts_of_others(handlers):
    blocks = page.build(handlers, "tiny", "A note.")
    assert blocks.analytics_enabled is False
    assert not re.search(r"@import|url\(\W*https?:", page.theme()._get_theme_css())
    for name in ("host.js", "frame.js", "page.css"):
        assert "http" not in page.asset(name)
