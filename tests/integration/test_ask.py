"""From a file to an answer with the tiny model: every modality, the report, the cache, long media, both front doors."""

from __future__ import annotations

import io
import json
import threading
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.cache import Cache, Entry
from video_salmonn.cli.main import app
from video_salmonn.errors import ConfigError, ContextError, ManifestError, MediaError
from video_salmonn.inference.disk_entries import DiskEntries
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.inference.released_json import answer_file
from video_salmonn.model import prompt
from video_salmonn.model.processing import question_of

MEDIA = Path(__file__).parents[1] / "fixtures" / "media"
CLIPS = ("big_buck_bunny_small.mp4", "flower.webm", "lbax4n.mpg", "nasa_13013.mp4")
REPORT = {"answer", "model", "media", "media_tokens", "prompt_tokens", "new_tokens", "seconds", "warnings"}
SECONDS = {"load", "decode", "features", "encode", "connect", "prefill", "generate", "total"}
SHORT = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture and a sound, as files."""
    import wave

    from PIL import Image

    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / "picture.png")
    tone = (8000 * np.sin(np.arange(2 * 16_000) / 9)).astype(np.int16)
    with wave.open(str(folder / "sound.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(tone.tobytes())
    return folder


def run(*arguments):
    """The command, in this process: exit code, JSON value if there is one, stderr."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    try:
        value = json.loads(result.stdout)
    except json.JSONDecodeError:
        value = None
    return result.exit_code, value, result.stderr


@pytest.mark.parametrize("clip", CLIPS)
def test_every_clip_from_file_to_text(engine, clip):
    answer = engine.ask(MEDIA / clip, "What happens?", **SHORT)
    report = answer.report
    assert set(report) == REPORT and set(report["seconds"]) == SECONDS
    assert report["answer"] == answer.text == str(answer)
    assert 1 <= report["new_tokens"] <= 4 and report["media_tokens"] > 0
    media = report["media"][0]
    assert media["source"].endswith(clip) and media["seen"]["status"] == "used"
    assert media["seen"]["frames"] == pytest.approx(media["duration"] * 2, abs=2)
    assert report["media_tokens"] == pytest.approx(media["duration"] * 6, abs=6)
    text = engine.processor.render("What happens?", [0])
    assert report["prompt_tokens"] == report["media_tokens"] + len(text.input_ids)
    assert report["seconds"]["total"] >= report["seconds"]["encode"] > 0
    json.dumps(report, allow_nan=False)


def test_a_silent_track_is_reported_silent(engine):
    media = engine.ask(MEDIA / "flower.webm", "What is heard?", **SHORT).report["media"][0]
    assert media["seen"]["status"] == "used" and media["heard"]["status"] == "silent"


def test_of_two_of_each_the_report_names_the_chosen(engine):
    report = engine.ask(MEDIA / "nasa_13013.mp4", "What?", **SHORT).report
    chosen = [stream["index"] for stream in report["media"][0]["streams"] if stream.get("chosen")]
    assert chosen == [3, 4]
    assert any("2 video streams: used #3" in w for w in report["warnings"])
    assert any("2 audio streams: used #4" in w for w in report["warnings"])
    other = engine.ask(MEDIA / "nasa_13013.mp4", "What?", video_stream=0, audio_stream=1, **SHORT).report
    assert [s["index"] for s in other["media"][0]["streams"] if s.get("chosen")] == [0, 1]


@pytest.mark.parametrize(
    ("name", "options", "seen", "heard"),
    [
        ("nasa_13013.mp4", {"no_audio": True}, "used", "off"),
        ("nasa_13013.mp4", {"no_video": True}, "off", "used"),
        ("picture.png", {}, "used", "absent"),
        ("sound.wav", {}, "absent", "used"),
    ],
)
def test_every_modality_alone(engine, files, name, options, seen, heard):
    path = MEDIA / name if (MEDIA / name).exists() else files / name
    report = engine.ask(path, "What?", **options, **SHORT).report
    assert (report["media"][0]["seen"]["status"], report["media"][0]["heard"]["status"]) == (seen, heard)
    assert report["media_tokens"] > 0 and report["new_tokens"] > 0


def test_a_picture_with_a_sound_and_a_question_about_nothing(engine, files):
    both = engine.ask(files / "picture.png", "Fit?", sound=files / "sound.wav", **SHORT).report
    assert both["media"][0]["seen"]["status"] == both["media"][0]["heard"]["status"] == "used"
    assert both["media_tokens"] == 12  # 2 s
    assert engine.ask(None, "Hello?", **SHORT).report["media"] == []


def test_start_and_end(engine):
    report = engine.ask(MEDIA / "nasa_13013.mp4", "What?", start=2.0, end=5.0, **SHORT).report
    assert report["media"][0]["duration"] == pytest.approx(3.0, abs=0.1) and report["media_tokens"] == 18


def test_the_released_profile_gives_180_tokens_for_anything_up_to_30_seconds(files):
    released = VideoSalmonn.load("tiny", profile="released")
    options = {"num_beams": 2, **SHORT}
    assert released.ask(MEDIA / "nasa_13013.mp4", "What?", **options).report["media_tokens"] == 180
    assert released.ask(files / "sound.wav", "What?", **options).report["media_tokens"] == 180
    assert released.ask(files / "picture.png", "What?", **options).report["media_tokens"] == 180
    silent = released.ask(MEDIA / "nasa_13013.mp4", "What?", no_audio=True, **options).report
    assert silent["media_tokens"] == 3 * 30  # 14 clips of two frames, in windows of ten


def test_the_second_question_encodes_nothing(engine):
    fresh = VideoSalmonn(engine.model, engine.processor)
    first = fresh.ask(MEDIA / "lbax4n.mpg", "What is said?", **SHORT)
    assert fresh.media.encoded == 1 and not first.report["media"][0]["reused"]
    second = fresh.ask(MEDIA / "lbax4n.mpg", "Who says it?", **SHORT)
    assert fresh.media.encoded == 1 and second.report["media"][0]["reused"]
    assert second.report["seconds"]["encode"] == second.report["seconds"]["features"] == 0.0
    assert fresh.ask(MEDIA / "lbax4n.mpg", "What is said?", **SHORT).text == first.text
    assert first.report["media"][0]["seen"] == second.report["media"][0]["seen"]


def test_chat_reuses_the_media_and_remembers(engine):
    fresh = VideoSalmonn(engine.model, engine.processor)
    session = fresh.chat(MEDIA / "lbax4n.mpg", **SHORT)
    first, second = session.ask("What is said?"), session.ask("And then?")
    assert fresh.media.encoded == 1
    assert second.report["prompt_tokens"] > first.report["prompt_tokens"]
    assert [m["role"] for m in session.messages] == ["user", "assistant"] * 2
    session.reset()
    assert session.ask("What is said?").text == first.text
    with pytest.raises(ConfigError):
        session.ask("  ")
    assert len(session.messages) == 2  # a refused question leaves no trace


def next_token(engine, question, media, *, zero=False):
    with torch.inference_mode():
        row = engine.prepare(media, question, max_new_tokens=4)
        tokens = row.media_embeds * 0 if zero else row.media_embeds
        ids = torch.tensor([row.input_ids])
        return engine.model(ids, torch.ones_like(ids), media_embeds=tokens).logits[0, -1]


def test_all_that_is_known_of_the_media_is_in_the_connectors_tokens(engine):
    """With those tokens at zero two clips of one length can no longer be told apart; with them they can."""
    one, other = (MEDIA / "lbax4n.mpg"), (MEDIA / "nasa_13013.mp4")
    clips = [engine.processor.load(path, end=3.0) for path in (one, other)]
    with_media = [next_token(engine, "What?", clip) for clip in clips]
    without = [next_token(engine, "What?", clip, zero=True) for clip in clips]
    assert torch.equal(*without)
    assert not torch.equal(*with_media)
    assert (with_media[0] - without[0]).abs().max() > 1e-3


def test_no_word_about_the_media_reaches_the_prompt(engine):
    """Decoded, the prompt is the template, the question and media places: no transcript, no label, no file name."""
    for clip in CLIPS:
        row = engine.prepare(MEDIA / clip, "What is it?", max_new_tokens=4)
        assert sum(i == engine.model.config.media_token_id for i in row.input_ids) == row.media_tokens
        rest = [i for i in row.input_ids if i != engine.model.config.media_token_id]
        assert engine.processor.tokenizer.decode(rest) == "<s>USER: <Img></Img> What is it?\nASSISTANT:"


# ------------------------------------------------------------------------------------------------------- long media


@pytest.fixture(scope="module")
def narrow(engine):
    """A model whose context holds about 3 s of media beside the question."""
    import copy

    model = copy.deepcopy(engine.model)
    model.config.text_config.max_position_embeddings = 72
    return VideoSalmonn(model, engine.processor)


def test_long_media_are_refused_never_cut(narrow):
    with pytest.raises(ContextError, match=r"13\.5 s") as error:
        narrow.ask(MEDIA / "nasa_13013.mp4", "What?", **SHORT)
    assert "segments" in error.value.remedy


def test_long_media_in_stretches(narrow):
    report = narrow.ask(MEDIA / "nasa_13013.mp4", "?", long="segments", start=0, end=12, **SHORT).report
    lines = [line for line in report["answer"].split("\n") if line.startswith("[")]
    assert lines[0].startswith("[0:00-0:05]") and lines[-1].startswith("[0:10-0:12]")
    assert any("3 stretches" in w for w in report["warnings"]) and report["media_tokens"] == 72


def test_long_media_coarser(narrow):
    report = narrow.ask(MEDIA / "nasa_13013.mp4", "What?", long="coarse", **SHORT).report
    assert report["media_tokens"] < 40 and any("4 times" in w for w in report["warnings"])


def test_a_question_too_long_is_refused_in_every_mode(engine):
    for mode in ("error", "segments", "coarse"):
        for media in (None, MEDIA / "flower.webm"):
            with pytest.raises(ContextError):
                engine.ask(media, "x" * 1_000_000, long=mode)


# ------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"max_new_tokens": "a"}, "max_new_tokens"),
        ({"max_new_tokens": 10**9}, "context"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 0.0}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"repetition_penalty": -1}, "repetition_penalty"),
        ({"num_beams": 0}, "num_beams"),
        ({"adapter_scale": float("inf")}, "adapter_scale"),
        ({"long": "cut"}, "long"),
        ({"start": 5, "end": 2}, "not after start"),
        ({"no_audio": True, "no_video": True}, "nothing"),
        ({"max_tokens": 3}, "unknown option: max_tokens"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_impossible_options_are_refused_by_name(engine, options, message):
    with pytest.raises((ConfigError, ContextError), match=message):
        engine.ask(MEDIA / "flower.webm", "What?", **options)


def test_a_seed_repeats_a_draw_and_leaves_the_callers_generator_alone(engine):
    state = torch.random.get_rng_state()
    draw = {"do_sample": True, "temperature": 3.0, "max_new_tokens": 12}
    texts = [engine.ask(None, "What?", seed=seed, **draw).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_stream_ends_when_nobody_listens(engine):
    before = threading.active_count()
    stream = engine.stream(None, "What?", max_new_tokens=1500)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_a_streams_error_is_raised_where_it_is_read(engine):
    with pytest.raises(MediaError, match=r"nowhere\.mp4"):
        list(engine.stream("nowhere.mp4", "What?"))
    with pytest.raises(ConfigError, match="beams"):
        engine.stream(None, "What?", num_beams=2)


def test_threads_share_a_model_and_encode_a_file_once(engine):
    fresh = VideoSalmonn(engine.model, engine.processor)
    alone = [engine.ask(MEDIA / "lbax4n.mpg", q, adapter_scale=s, **SHORT).text for q, s in (("A?", 0.0), ("B?", 1.0))]
    answers: dict[int, str] = {}

    def work(i: int) -> None:
        question, scale = (("A?", 0.0), ("B?", 1.0))[i % 2]
        answers[i] = fresh.ask(MEDIA / "lbax4n.mpg", question, adapter_scale=scale, **SHORT).text

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fresh.media.encoded == 1
    assert [answers[i] for i in range(4)] == alone * 2


# ------------------------------------------------------------------------------------------------------- the cache


def test_the_key_tells_contents_options_and_models_apart(engine, tmp_path):
    cache = Cache()
    fresh = VideoSalmonn(engine.model, engine.processor, cache=cache)
    path = tmp_path / "clip.webm"
    path.write_bytes((MEDIA / "flower.webm").read_bytes())
    fresh.encode([path], end=1.0)
    copied = tmp_path / "other name.webm"
    copied.write_bytes(path.read_bytes())
    (same,) = fresh.encode([copied], end=1.0)
    assert same.reused and same.report.source == str(copied) and fresh.media.encoded == 1
    assert fresh.encode([path.read_bytes()], end=1.0)[0].reused
    assert not fresh.encode([path], end=2.0)[0].reused
    assert not fresh.encode([path], end=1.0, no_audio=True)[0].reused
    assert not VideoSalmonn(engine.model, engine.processor, cache=cache).encode([path], end=1.0)[0].reused
    path.write_bytes((MEDIA / "lbax4n.mpg").read_bytes())
    assert not fresh.encode([path], end=1.0)[0].reused


def test_the_disk_cache_serves_the_next_process_and_survives_damage(engine, tmp_path):
    clip = MEDIA / "flower.webm"
    first = VideoSalmonn(engine.model, engine.processor, cache=Cache(folder=tmp_path))
    text = first.ask(clip, "What?", **SHORT)
    (file,) = tmp_path.glob("*/*.safetensors")
    second = VideoSalmonn(engine.model, engine.processor, cache=Cache(folder=tmp_path))
    again = second.ask(clip, "What?", **SHORT)
    assert second.media.encoded == 0 and again.text == text.text
    assert again.report["media"][0]["streams"] == text.report["media"][0]["streams"]
    for damage in (b"", b"garbage", file.read_bytes()[:-100]):
        file.write_bytes(damage)
        (file.parent / "index.json").write_bytes(damage)
        third = VideoSalmonn(engine.model, engine.processor, cache=Cache(folder=tmp_path))
        assert third.ask(clip, "What?", **SHORT).text == text.text and third.media.encoded == 1


def test_memory_and_disk_are_bounded(tmp_path):
    cache = Cache(memory_bytes=1000, folder=tmp_path, disk_bytes=2500)
    disk = DiskEntries(cache, "model")
    for i in range(8):
        entry = Entry({"speech": torch.full((100,), float(i))}, {"number": i})
        cache.put(f"{i:02d}", entry)
        disk.put(f"{i:02d}", entry)
    assert cache.nbytes <= 1000 and len(cache) == 2 and cache.get("00") is None
    assert sum(f.stat().st_size for f in tmp_path.glob("*/*.safetensors")) <= 2500
    found = disk.get("07")
    assert found is not None and found.tensors["speech"][0] == 7 and found.facts == {"number": 7}
    assert disk.get("00") is None and DiskEntries(cache, "another model").get("07") is None
    assert not list(tmp_path.glob("*/.*part*"))


def test_what_an_earlier_version_kept_is_not_used_and_the_log_says_so(tmp_path, caplog):
    (tmp_path / "0a").mkdir()
    (tmp_path / "0a" / "0abc.safetensors").write_bytes(b"")
    disk = DiskEntries(Cache(folder=tmp_path), "model")
    assert "no longer used" in caplog.text and disk.get("0abc") is None
    assert (tmp_path / "0a" / "0abc.safetensors").exists()


# ------------------------------------------------------------------------------------------------------- commands


def test_the_command_prints_the_contract(files):
    code, report, _ = run("ask", MEDIA / "flower.webm", "What?", "--model", "tiny", "--max-new-tokens", 3, "--json")
    assert code == 0 and set(report) == REPORT and set(report["seconds"]) == SECONDS
    assert report["model"] == "tiny" and report["new_tokens"] <= 3
    media = report["media"][0]
    assert {"status", "from", "to", "frames"} <= set(media["seen"]) and {"status", "from", "to"} <= set(media["heard"])
    code, both, _ = run(
        "ask", files / "picture.png", "?", "--sound", files / "sound.wav", "--model", "tiny", "--json",
        "--max-new-tokens", 2,
    )  # fmt: skip
    assert code == 0 and both["media_tokens"] == 12


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("nowhere.mp4", "What?"), "MediaError"),
        ((MEDIA / "flower.webm", " "), "ConfigError"),
        ((MEDIA / "flower.webm", "What?", "--max-new-tokens", "0"), "ConfigError"),
        ((MEDIA / "flower.webm", "What?", "--no-audio", "--no-video"), "ConfigError"),
        ((MEDIA / "flower.webm", "What?", "--start", "9", "--end", "3"), "ConfigError"),
        ((MEDIA / "flower.webm", "What?", "--profile", "paper"), "ConfigError"),
        ((MEDIA / "flower.webm", "What?", "--dtype", "int3"), "ConfigError"),
        ((MEDIA / "flower.webm",), "ConfigError"),
        ((__file__, "What?"), "MediaError"),
    ],
)
def test_the_command_fails_with_one_json_error(arguments, kind):
    code, value, _ = run("ask", *arguments, "--model", "tiny", "--json")
    assert code == 2 and set(value) == {"error"}
    assert value["error"]["type"] == kind and value["error"]["message"] and "remedy" in value["error"]
    code, value, errors = run("ask", *arguments, "--model", "tiny")
    assert code == 2 and value is None and errors.startswith("error:") and "Traceback" not in errors


def test_no_such_model():
    code, value, _ = run("ask", MEDIA / "flower.webm", "What?", "--model", "no/such/model", "--json")
    assert code == 2 and value["error"]["type"] == "CheckpointError" and "tiny" in value["error"]["remedy"]


def test_the_command_for_people(engine):
    code, _, errors = run("ask", MEDIA / "flower.webm", "What?", "--model", "tiny", "--max-new-tokens", 3)
    assert code == 0 and "heard: silent" in errors and "media tokens" in errors


def test_chat_command():
    result = CliRunner().invoke(
        app,
        ["chat", str(MEDIA / "flower.webm"), "--model", "tiny", "--max-new-tokens", "3", "--json"],
        input="What?\n\nAnd then?\n/reset\nWhat?\n/quit\n",
    )
    reports = json.loads(result.stdout)
    assert result.exit_code == 0 and len(reports) == 3
    assert [r["media"][0]["reused"] for r in reports] == [True, True, True]
    assert reports[0]["answer"] == reports[2]["answer"]


# ------------------------------------------------------------------------------------------------- released examples


def released_items(files):
    turns = [{"from": "human", "value": "Describe the video and audio in detail"}, {"from": "gpt", "value": "None"}]
    names = (
        [str(MEDIA / "lbax4n.mpg"), str(files / "sound.wav")],
        [str(files / "picture.png"), str(files / "sound.wav")],
        str(MEDIA / "lbax4n.mpg"),
    )
    return [{"image_name": name, "conversation": turns} for name in names]


@pytest.mark.parametrize("profile", [None, "released"])
def test_released_example_files(files, tmp_path, profile):
    source, out = tmp_path / "example_video.json", tmp_path / "new" / "eval_result.json"
    source.write_text(json.dumps(released_items(files)))
    more = ("--profile", profile) if profile else ()
    code, _, _ = run("ask", "--released-json", source, "--out", out, "--model", "tiny", "--max-new-tokens", 3, *more)
    results = json.loads(out.read_text())
    assert code == 0 and len(results) == 3
    for item, result in zip(released_items(files), results):
        assert {"id", "conversation", "task", "ref_answer", "gen_answer"} <= set(result)
        assert result["id"] == item["image_name"] and result["ref_answer"] == "None"
        assert {m["heard"]["status"] for m in result["report"]["media"]} == {"used"}


def test_a_bad_item_fails_alone_and_a_bad_file_at_once(engine, files, tmp_path):
    source = tmp_path / "example.json"
    items = released_items(files)
    items[1]["image_name"] = "missing.mp4"
    source.write_text(json.dumps(items))
    results = answer_file(engine, source, tmp_path / "out.json", **SHORT)
    assert [("error" in r) for r in results] == [False, True, False]
    assert json.loads((tmp_path / "out.json").read_text())[1]["error"]["type"] == "MediaError"
    code, _, errors = run("ask", "--released-json", source, "--out", tmp_path / "o.json", "--model", "tiny")
    assert code == 1 and "missing.mp4" in errors
    for broken in ("{", "{}", '[{"image_name": 3}]', '[{"image_name": "x.mp4", "conversation": []}]'):
        source.write_text(broken)
        with pytest.raises(ManifestError, match=r"example\.json"):
            answer_file(engine, source, tmp_path / "out.json")


def test_items_in_every_form(engine):
    placed = [{"role": "user", "content": [{"type": "video"}, "What?"]}]
    forms = [
        {"question": "What?", "media": str(MEDIA / "flower.webm"), **SHORT},
        MediaQuestion("What?", [MEDIA / "flower.webm"], SHORT),
        {
            "question": [{"role": "user", "content": [{"type": "video"}, "What?"]}],
            "media": MEDIA / "flower.webm",
            **SHORT,
        },
    ]
    assert len({answer.text for answer in engine.ask_many(forms)}) == 1
    with pytest.raises(ConfigError, match="no question"):
        engine.batch([{"media": "x.mp4"}])
    assert question_of(placed) == "What?" and prompt.parse("What?", 1)


def test_the_library_prints_nothing(engine):
    out = io.StringIO()
    with redirect_stdout(out):
        engine.ask(MEDIA / "flower.webm", "What?", **SHORT)
    assert out.getvalue() == ""
