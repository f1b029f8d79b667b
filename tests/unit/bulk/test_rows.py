"""What becomes a row, and what is refused."""

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_salmonn.bulk.openai_lines import Inline, answer_of, failed, result_line
from video_salmonn.bulk.rows import parse_shards, read_rows, shard
from video_salmonn.errors import ConfigError, ManifestError, MediaError


def lines(folder: Path, *values) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(value if isinstance(value, str) else json.dumps(value) for value in values), "utf-8")
    return str(path)


def read(source, question=None, **defaults):
    return list(read_rows(str(source), question, defaults))


def test_a_folder_is_every_media_file_below_it(tmp_path):
    for name in ("b.mp4", "sub/a.WAV", "sub/notes.txt", ".hidden/c.mp4", "a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = read(tmp_path, "What is it?", max_new_tokens=3)
    assert [row.id for row in rows] == ["a.jpg", "b.mp4", "sub/a.WAV"]
    assert rows[1].media == (str(tmp_path / "b.mp4"),) and rows[1].options == {"max_new_tokens": 3}
    assert [row.id for row in read(tmp_path / "*.mp4", "What?")] == [str(tmp_path / "b.mp4")]
    assert [row.id for row in read(tmp_path / "**" / "*.WAV", "What?")] == [str(tmp_path / "sub" / "a.WAV")]
    assert len(read(tmp_path / "b.mp4", "What?")) == 1
    with pytest.raises(ConfigError, match="no question of their own"):
        read(tmp_path)


def test_what_is_asked_does_not_depend_on_where_the_files_lie(tmp_path):
    keys = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.mp4").touch()
        line = {"id": "a", "media": "a.mp4", "question": "Q?", "label": place}
        rows = [*read(tmp_path / place, "Q?"), *read(lines(tmp_path / place, line, openai("Q?")))]
        keys.append([row.key for row in rows])
    assert keys[0] == keys[1] and len(set(keys[0])) == 3


def test_odd_things_in_a_folder_cost_no_other_row(tmp_path):
    for name in ("a.mp4", "\u00e9t\u00e9 \U0001f600.wav", os.fsdecode(b"\xff.jpg")):
        (tmp_path / name).touch()
    (tmp_path / "frames.mp4").mkdir()
    (tmp_path / "frames.mp4" / "b.png").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "turns.mp4").symlink_to(tmp_path / "turns.mp4")
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "gone.wav")
    found = {row.id for row in read(tmp_path, "What is it?")}
    links = {"turns.mp4", "dangling.wav"}  # rows whose errors will say what is wrong with them
    assert found == {"a.mp4", "\u00e9t\u00e9 \U0001f600.wav", "\udcff.jpg", "frames.mp4/b.png"} | links


def test_a_folder_that_cannot_be_read_is_named_and_not_left_out(tmp_path, monkeypatch):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.mp4").touch()
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def refused(place):
        if str(place).endswith("shut"):  # root may read every folder, so a mode of 000 would change nothing in a test
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ManifestError, match="shut: the folder cannot be read \\(Permission denied\\)") as caught:
        read(tmp_path, "What?")
    assert "permissions" in caught.value.remedy


def test_an_input_without_a_name_and_one_that_cannot_be_read_twice_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ManifestError, match="name of the input is empty"):
        read("", "What?")  # not the current folder: a variable was not set
    os.mkfifo("pipe.jsonl")
    with pytest.raises(ManifestError, match=r"pipe\.jsonl: is a pipe or a device"):
        read("pipe.jsonl")


@pytest.mark.parametrize("name", ["nothing", "nothing/*.mp4", "empty"])
def test_an_input_that_is_not_there_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError) as caught:
        read(tmp_path / name, "What?")
    assert "nothing" in str(caught.value) or "no media files" in str(caught.value)


def test_our_lines(tmp_path):
    rows = read(
        lines(
            tmp_path,
            {"id": "a", "media": "x.mp4", "question": "Q?", "max_new_tokens": 7, "label": "mine"},
            {"id": 2, "media": ["x.mp4", "/abs/y.mp4", "https://host/z.mp4"]},
            {"id": "c", "media": "x.jpg", "sound": "x.wav"},
            {"id": "d", "media": {"video": "x.mp4", "audio": None, "start": 1, "end": 2}},
            {"id": "e", "media": {"image": "x.jpg", "audio": "y.wav"}},
            {"id": "f", "media": {"audio": "y.wav"}},
            {
                "id": "g",
                "media": {"video": "x.mp4"},
                "conversation": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}],
                "task": "t",
            },
            {"question": "About nothing?"},
        ),
        "General?",
        max_new_tokens=3,
    )
    here = str(tmp_path)
    assert [row.problem for row in rows] == [None] * 8
    assert (rows[0].conversation, rows[0].options) == ("Q?", {"max_new_tokens": 7})
    assert rows[1].id == "2" and rows[1].media == (f"{here}/x.mp4", "/abs/y.mp4", "https://host/z.mp4")
    assert rows[1].conversation == "General?"
    assert rows[2].media == ((f"{here}/x.jpg", f"{here}/x.wav"),) == ((*rows[4].media[0][:1], f"{here}/x.wav"),)
    assert rows[3].options == {"max_new_tokens": 3, "start": 1, "end": 2, "no_audio": True}
    assert rows[5].media == (f"{here}/y.wav",)
    assert rows[6].conversation == [{"role": "user", "content": "Q?"}]
    assert rows[7].media == () and len(rows[7].id) == 24
    assert len({row.key for row in rows}) == 8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "a", "media": "x.mp4"}, "no question"),
        ({"id": "a", "media": 7, "question": "Q?"}, "media is 7"),
        ({"id": "a", "media": {"vidoe": "x.mp4"}, "question": "Q?"}, "media is {'vidoe'"),
        ({"id": "a", "media": {}, "question": "Q?"}, "media is {}"),
        ({"id": "a", "media": [None], "question": "Q?"}, "media is [None]"),
        ({"id": "a", "media": ["x", ""], "question": "Q?"}, "media is ['x', '']"),
        ({"id": "a", "media": "x", "sound": "", "question": "Q?"}, "media is 'x', sound is ''"),
        ({"id": "a", "media": ["x", "y"], "sound": "z", "question": "Q?"}, "one media item only"),
        ({"id": "a", "media": "x.mp4", "question": "Q?", "max_new_tokens": 0}, "max_new_tokens must be"),
        ({"id": "a", "media": "x.mp4", "question": " "}, "question"),
        ({"custom_id": "a", "url": "/v1/embeddings", "body": {}}, "url is '/v1/embeddings'"),
        ({"custom_id": "a", "url": "/v1/chat/completions", "body": {}}, "messages"),
    ],
)
def test_what_is_wrong_with_a_line_costs_that_row_only(tmp_path, line, message):
    bad, good = read(lines(tmp_path, line, {"id": "b", "media": "x.mp4", "question": "Q?"}))
    assert bad.id == "a" and message in str(bad.problem) and good.problem is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (['{"id": "a"', '{"id": "b"}'], "line 1: not JSON"),
        (["[1]"], "line 1: is not a JSON object"),
        ([{"id": "a", "question": "Q?"}, {"id": "a", "question": "R?"}], "line 2: the id 'a' is that of line 1"),
        ([{"question": "Q?"}, {"question": "Q?"}], "is that of line 1"),
    ],
)
def test_lines_that_cannot_be_told_apart_are_refused_before_anything_is_answered(tmp_path, values, message):
    with pytest.raises(ManifestError, match=message):
        read(lines(tmp_path, *values))


def openai(content, **body):
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": content}]
    return {
        "custom_id": "r1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": messages, **body},
    }


def test_openai_lines(tmp_path):
    data = "data:image/png;base64," + base64.b64encode(b"picture").decode()
    content = [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"sound").decode(), "format": "wav"}},
        {"type": "text", "text": "Does it fit?"},
    ]
    line = openai(content, max_tokens=9, temperature=0.5, seed=3, stop="\n", user="u", stream=False)
    (row,) = read(lines(tmp_path, line), max_new_tokens=4, num_beams=1)
    assert row.id == "r1" and row.problem is None
    assert [part["type"] for part in row.conversation[1]["content"]] == ["text", "media", "text"]
    ((picture, sound),) = row.media
    assert picture.content() == b"picture" and sound.content() == b"sound"
    wanted = {"max_new_tokens": 9, "do_sample": True, "temperature": 0.5, "seed": 3, "stop_strings": ["\n"]}
    assert row.options == wanted | {"num_beams": 1}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, "{folder}/a.mp4"),
        ({"type": "video_url", "video_url": {"url": "file:///x/a%20b.mp4"}}, "/x/a b.mp4"),
        ({"type": "audio_url", "audio_url": {"url": "https://host/a.wav"}}, "https://host/a.wav"),
        ({"type": "input_image", "image_url": "/x.png"}, "/x.png"),
        ({"type": "file", "file": {"file_data": "QQ=="}}, Inline("QQ==")),
    ],
)
def test_where_the_media_of_openai_lines_are(tmp_path, part, source):
    (row,) = read(lines(tmp_path, openai([part, {"type": "text", "text": "What?"}])))
    expected = source.format(folder=tmp_path) if isinstance(source, str) else source
    assert row.media == (expected,)


@pytest.mark.parametrize(
    "line",
    [
        openai([{"type": "input_video"}]),
        openai([{"type": "file", "file": {"file_id": "file-1"}}, {"type": "text", "text": "What?"}]),
        openai("What?", n=2),
        openai("What?", response_format={"type": "json_object"}),
        openai("What?", mm_processor_kwargs={"frames_are_video": True}),
        openai("What?", mm_processor_kwargs="none"),
        openai("What?", response_format="json"),
        openai("What?", response_format=["text"]),
        openai("What?", stop=5),
        openai("What?", stop=["", "a"]),
        openai("What?", max_tokens="many"),
        openai("What?", temperature=[1]),
        openai([{"type": ["text"], "text": "What?"}]),
        openai([{"type": "video_url", "video_url": {"url": "file://[x/a.mp4"}}, {"type": "text", "text": "What?"}]),
        openai([5]),
        openai({"type": "text"}),
    ],
)
def test_what_openai_lines_may_not_ask_for(tmp_path, line):
    (row,) = read(lines(tmp_path, line))
    assert isinstance(row.problem, ConfigError) and row.problem.remedy


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8).filter(lambda text: text.isascii()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    *("media", "sound", "question", "conversation", "max_new_tokens", "start", "no_audio", "long", "stop_strings"),
    *("seed", "temperature", "joint_ctc", "num_beams", "do_sample"),
)
BODY = ("response_format", "mm_processor_kwargs", "stop", "max_tokens", "temperature", "seed", "n", "messages")


@settings(max_examples=150, deadline=None)
@given(
    own=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    body=st.dictionaries(st.sampled_from(BODY), VALUES, max_size=4),
    part=st.dictionaries(st.sampled_from(("type", "text", "video_url", "input_audio", "file")), VALUES, max_size=3),
)
def test_whatever_a_line_holds_costs_its_row_at_most(tmp_path_factory, own, body, part):
    folder = tmp_path_factory.mktemp("lines")
    asked = openai([part, {"type": "text", "text": "What?"}])
    asked["body"] |= body
    rows = read(lines(folder, {"id": "own"} | own, asked, {"id": "good", "media": "x.mp4", "question": "Q?"}))
    assert [row.id for row in rows] == ["own", "r1", "good"] and rows[2].problem is None
    assert all(row.problem is None or (str(row.problem) and row.problem.remedy) for row in rows)


@pytest.mark.parametrize("data", ["data:video/mp4;base64,%%%", "data:video/mp4,plain", "a"])
def test_bad_base64_is_an_error_of_the_media(data):
    with pytest.raises(MediaError, match="not base64"):
        Inline(data).content()


def test_shards_take_every_row_once():
    rows = list(range(10))
    parts = [list(shard(rows, *parse_shards(f"{number}/3"))) for number in (1, 2, 3)]
    assert sorted(row for part in parts for row in part) == rows and parts[1] == [1, 4, 7]
    assert parse_shards(None) == (0, 1)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2"])
def test_impossible_shards_are_refused(text):
    with pytest.raises(ConfigError, match="shards is"):
        parse_shards(text)


def test_result_lines_tell_failures_from_answers():
    good = result_line("n", "a", {"choices": [{"message": {"content": "yes"}}]}, None)
    bad = result_line("n", "a", None, MediaError("x.mp4", "is broken", remedy="mend it"))
    odd = result_line("n", "a", None, RuntimeError("out of memory"))
    assert (failed(good), answer_of(good)) == (False, "yes")
    assert [one["response"]["status_code"] for one in (good, bad, odd)] == [200, 422, 500]
    assert bad["error"] == {"code": "MediaError", "message": "x.mp4: is broken", "remedy": "mend it"}
    assert answer_of(bad) is None and failed(odd)
