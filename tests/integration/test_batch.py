"""Batches with the tiny model: the same answers as `ask`, whatever is broken, killed or done twice."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.bulk import decoding as decoding_ahead
from video_salmonn.bulk import predicting
from video_salmonn.bulk.decoding import DecodingAhead
from video_salmonn.bulk.openai_lines import answer_of, failed
from video_salmonn.bulk.predicting import Decoded, Predictor, TooManyFailures, media_options
from video_salmonn.bulk.results import Results
from video_salmonn.bulk.rows import read_rows
from video_salmonn.bulk.run import run, settings_of
from video_salmonn.cli.main import app
from video_salmonn.cli.progress import rate
from video_salmonn.errors import ManifestError, MediaError
from video_salmonn.media import load_clip

ROOT = Path(__file__).parents[2]
CLIP, PICTURE, SOUND = (str(ROOT / "examples" / name) for name in ("grid/swbo8n.mp4", "shirt.jpg", "helicopter.flac"))
SHORT = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


def tones(folder: Path, count: int) -> list[str]:
    """Sound files of half a second to a second, all different."""
    made = []
    for number in range(count):
        path = folder / f"{number:03d}.wav"
        samples = 9000 * np.sin(np.arange(8000 + 700 * (number % 12)) / (4 + number / 7))
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16_000)
            out.writeframes(samples.astype(np.int16).tobytes())
        made.append(str(path))
    return made


def write(path: Path, *lines) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def results_of(path: Path) -> dict[str, dict]:
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines), "every row once"
    return {line["custom_id"]: line for line in lines}


def batch(engine, source: str, out: Path, **given):
    with Results(out, settings_of(engine)) as results:
        return run(engine, lambda: read_rows(source, None, SHORT), results, workers=1, **given)


def test_rows_get_the_answers_that_ask_gives(engine, tmp_path):
    source = write(
        tmp_path / "in.jsonl",
        {"id": "clip", "media": CLIP, "question": "What is said?"},
        {"id": "stretch", "media": {"video": CLIP, "start": 1, "end": 2}, "question": "What is said?"},
        {"id": "mute", "media": CLIP, "no_audio": True, "question": "What is said?"},
        {"id": "both", "media": {"image": PICTURE, "audio": SOUND}, "question": "Do they fit?"},
        {"id": "two", "media": [PICTURE, SOUND], "question": "What are they?"},
        {"id": "none", "question": "What is two and two?"},
    )
    summary = batch(engine, source, tmp_path / "out.jsonl", batch_size=4)
    assert (summary.rows, summary.answered, summary.failed) == (6, 6, 0)
    found = {name: answer_of(line) for name, line in results_of(tmp_path / "out.jsonl").items()}
    ask = engine.ask
    assert found == {
        "clip": ask(CLIP, "What is said?", **SHORT).text,
        "stretch": ask(CLIP, "What is said?", start=1, end=2, **SHORT).text,
        "mute": ask(CLIP, "What is said?", no_audio=True, **SHORT).text,
        "both": ask(PICTURE, "Do they fit?", sound=SOUND, **SHORT).text,
        "two": ask([PICTURE, SOUND], "What are they?", **SHORT).text,
        "none": ask(None, "What is two and two?", **SHORT).text,
    }
    line = results_of(tmp_path / "out.jsonl")["clip"]
    assert set(line) == {"id", "custom_id", "response", "error"} and line["error"] is None
    body = line["response"]["body"]
    assert body["object"] == "chat.completion" and body["usage"]["completion_tokens"] <= 4
    assert body["video_salmonn"]["media"][0]["heard"]["status"] == "used"


def test_a_broken_file_costs_its_row_and_is_answered_once_it_is_mended(engine, tmp_path):
    (sound,) = tones(tmp_path, 1)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound at all")
    lines = [{"id": name, "media": path, "question": "Q?"} for name, path in (("a", sound), ("b", str(broken)))]
    lines += [{"id": "c", "media": sound, "question": "Q?", "long": "sideways"}]
    source, out = write(tmp_path / "in.jsonl", *lines), tmp_path / "out.jsonl"
    summary = batch(engine, source, out)
    assert (summary.answered, summary.failed) == (1, 2)
    found = results_of(out)
    assert [failed(found[name]) for name in "abc"] == [False, True, True]
    assert str(broken) in found["b"]["error"]["message"] and found["c"]["response"]["status_code"] == 400
    again = batch(engine, source, out)
    assert (again.before, again.answered, again.failed) == (3, 0, 0)
    broken.write_bytes(Path(sound).read_bytes())
    with Results(out, settings_of(engine), retry=True) as results:
        last = run(engine, lambda: read_rows(source, None, SHORT), results, workers=1)
    assert (last.before, last.answered, last.failed) == (1, 1, 1)
    assert not failed(results_of(out)["b"])


class Unsteady:
    """An engine that cannot answer a batch with a certain question in it, or more than so many at once."""

    def __init__(self, engine, most=100, bad=()):
        self.engine, self.most, self.bad, self.calls = engine, most, bad, 0

    def batch(self, items):
        self.calls += 1
        if len(items) > self.most or any(item.conversation in self.bad for item in items):
            raise RuntimeError("out of memory")
        return self.engine.batch(items)


def test_a_batch_that_fails_is_halved_until_one_row_is_left(engine):
    rows = [Decoded(f"Q {number}?", (), SHORT) for number in range(6)]
    plain = [one.text for one in Predictor(engine).answer(rows)]
    assert [one.text for one in Predictor(Unsteady(engine, most=2)).answer(rows)] == plain
    found = Predictor(Unsteady(engine, bad=("Q 4?",))).answer(rows)
    assert isinstance(found[4], RuntimeError) and [one.text for one in found[:4]] == plain[:4]


def test_failures_that_are_not_the_rows_own_end_the_run(engine, monkeypatch):
    monkeypatch.setattr(predicting, "MOST_UNEXPECTED", 3)
    rows = [Decoded(f"Q {number}?", (), SHORT) for number in range(6)]
    with pytest.raises(TooManyFailures, match="3 consecutive rows"):
        Predictor(Unsteady(engine, most=0)).answer(rows)


def test_answers_about_a_stretch_count_its_time_from_the_beginning_of_the_file(engine, tmp_path):
    (sound,) = [tmp_path / "long.wav"]
    with wave.open(str(sound), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes((8000 * np.sin(np.arange(12 * 16_000) / 9)).astype(np.int16).tobytes())
    options = {"start": 4.0, "piece_seconds": 3, "max_new_tokens": 3}
    clip = load_clip(str(sound), options=media_options(engine.processor, options))
    (found,) = Predictor(engine).answer([Decoded("What is heard?", [clip], options)])
    asked = engine.ask(str(sound), "What is heard?", **options)
    assert found.text == asked.text and found.report["pieces"] == asked.report["pieces"]
    assert found.report["pieces"][0]["from"] == 4.0


def test_decoding_runs_ahead_and_never_further_than_told(engine, tmp_path):
    paths = tones(tmp_path, 9)
    source = write(tmp_path / "in.jsonl", *({"id": str(n), "media": p, "question": "Q?"} for n, p in enumerate(paths)))
    taken = []

    def rows():
        for row in read_rows(source, None):
            taken.append(row.id)
            yield row

    with DecodingAhead(lambda row: media_options(engine.processor, row.options), workers=2, ahead=4) as decoding:
        sizes = []
        for made in decoding.batches(rows(), 3):
            sizes.append(len(made))
            assert len(taken) <= sum(sizes) + 4
            assert all(isinstance(one, Decoded) for _, one in made)
    assert max(sizes) <= 3 and sum(sizes) == 9 and sorted(taken) == [str(n) for n in range(9)]
    with DecodingAhead(lambda row: media_options(engine.processor, row.options), workers=1, ahead=2) as decoding:
        sizes = [len(made) for made in decoding.batches(read_rows(source, None), 100)]
    assert max(sizes) <= 2 and sum(sizes) == 9, "a batch is never larger than what may lie in memory"


def test_batches_are_full_where_the_model_takes_time_and_one_row_does_not_wait_long(engine, tmp_path):
    paths = tones(tmp_path, 9)
    source = write(tmp_path / "in.jsonl", *({"id": str(n), "media": p, "question": "Q?"} for n, p in enumerate(paths)))
    answering, begun = threading.Event(), []

    def options_of(row):
        if row.id != "0":  # decoding of all others takes until the first is being answered
            assert answering.wait(60), "the first row waited for the others"
        begun.append(row.id)
        return media_options(engine.processor, row.options)

    with DecodingAhead(options_of, workers=2, ahead=5) as decoding:
        sizes = []
        for made in decoding.batches(read_rows(source, None), 4):
            sizes.append(len(made))
            answering.set()
            until = time.monotonic() + 60  # a model that takes its time
            while len(begun) < 5 or len(decoding._idle) < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
    assert sizes[:2] == [1, 4] and sum(sizes) == 9


def test_a_batch_waits_for_rows_that_are_about_to_be_ready(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding_ahead, "FIRST_PACE", 60.0)  # as on a model that needs so long for a row
    monkeypatch.setattr(decoding_ahead, "LONGEST_WAIT", 60.0)
    paths = tones(tmp_path, 6)
    source = write(tmp_path / "in.jsonl", *({"id": str(n), "media": p, "question": "Q?"} for n, p in enumerate(paths)))

    def options_of(row):
        time.sleep(0.1)
        return media_options(engine.processor, row.options)

    with DecodingAhead(options_of, workers=1, ahead=8) as decoding:
        first = next(decoding.batches(read_rows(source, None), 4))
        assert [row.id for row, _ in first] == ["0", "1", "2", "3"]
    lines = [{"id": name, "media": media, "question": "Q?"} for name, media in zip("abc", (3, *paths))]
    source = write(tmp_path / "three.jsonl", *lines)
    with DecodingAhead(options_of, workers=1, ahead=8) as decoding:  # a failed row does not wait, nothing else can come
        made = [[row.id for row, _ in batch] for batch in decoding.batches(read_rows(source, None), 4)]
    assert made == [["a"], ["b", "c"]]


def test_rows_of_like_length_share_a_batch_and_none_is_left_behind(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding_ahead, "FIRST_PACE", 60.0)
    monkeypatch.setattr(decoding_ahead, "LONGEST_WAIT", 60.0)
    lengths = {"long": 9, "short": 1, "longer": 10, "shorter": 0.5, "middle": 3}
    for name, seconds in lengths.items():
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as out:
            out.setparams((1, 2, 16_000, 0, "NONE", ""))
            out.writeframes(bytes(2 * int(16_000 * seconds)))
    lines = [{"id": name, "media": f"{name}.wav", "question": "Q?"} for name in lengths]
    source = write(tmp_path / "in.jsonl", *lines)
    begun = []

    def options_of(row):
        begun.append(row.id)
        return media_options(engine.processor, row.options)

    with DecodingAhead(options_of, workers=1, ahead=8) as decoding:
        made = []
        for batch in decoding.batches(read_rows(source, None), 2):
            made.append([row.id for row, _ in batch])
            until = time.monotonic() + 60  # the model takes its time: everything is decoded meanwhile
            while len(begun) < len(lengths) or not decoding._idle:
                assert time.monotonic() < until
                time.sleep(0.05)
    assert made == [["long", "short"], ["longer", "middle"], ["shorter"]]


def test_a_row_that_takes_too_long_to_decode_fails_alone(engine, tmp_path):
    (good,) = tones(tmp_path, 1)
    lines = [{"id": "slow", "media": "pipe.wav", "question": "Q?"}, {"id": "good", "media": good, "question": "Q?"}]
    long = tmp_path / "pipe.wav"
    with wave.open(str(long), "wb") as out:
        out.setparams((1, 2, 48_000, 0, "NONE", ""))
        out.writeframes(bytes(2 * 48_000 * 600))
    source = write(tmp_path / "in.jsonl", *lines)
    limit = lambda row: media_options(engine.processor, row.options)  # noqa: E731
    with DecodingAhead(limit, workers=1, ahead=4, seconds=0.02) as decoding:
        found = {row.id: made for made in decoding.batches(read_rows(source, None), 1) for row, made in made}
    assert isinstance(found["slow"], MediaError) and "not decoded within" in str(found["slow"])


def command(*arguments):
    return CliRunner().invoke(app, ["batch", *map(str, arguments), "--model", "tiny", "--max-new-tokens", "3"])


def test_the_command_sums_up_and_exits_with_1_if_a_row_failed(tmp_path):
    tones(tmp_path, 2)
    out = tmp_path / "results" / "out.jsonl"
    done = command(tmp_path, "--question", "What is heard?", "--out", out, "--json")
    value = json.loads(done.stdout)
    assert done.exit_code == 0 and (value["rows"], value["answered"], value["failed"]) == (2, 2, 0)
    assert sorted(results_of(out)) == ["000.wav", "001.wav"]
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    done = command(tmp_path, "--question", "What is heard?", "--out", out)
    assert done.exit_code == 1 and "2 rows were in" in done.stdout and "broken.wav" in done.stderr
    assert command(tmp_path, "--question", "What is heard?", "--out", out).exit_code == 1, "it is still there"
    done = command(tmp_path, "--question", "Something else?", "--out", out, "--json")
    assert done.exit_code == 2 and "asked something else" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jsonl"], "no such file"),
        (["examples"], "no question"),
        (["examples", "--question", "Q?", "--shards", "3/2"], "shards is '3/2'"),
        (["examples", "--question", "Q?", "--batch-size", "0"], "--batch-size is 0"),
        (["examples", "--question", "Q?", "--max-new-tokens", "0"], "max_new_tokens"),
        (["", "--question", "Q?"], "name of the input is empty"),
        (["examples", "--question", " "], "question is empty"),
        (["examples", "--question", "Q?", "--decode-seconds", "nan"], "--decode-seconds is nan"),
        (["examples", "--question", "Q?", "--decode-seconds", "0"], "--decode-seconds is 0"),
        (["examples", "--question", "Q?", "--workers", "0"], "--workers is 0"),
        (["examples", "--question", "Q?", "--out", "examples"], "is a folder"),
        (["examples", "--question", "Q?", "--out", "/dev/null"], "/dev/null: is no regular file"),
        (["examples", "--question", "Q?", "--out", "README.md"], "README.md, line 1: is no result of a batch"),
        (["examples", "--question", "Q?", "--out", "README.md/out.jsonl"], "README.md is not a folder one can write"),
        (["{folder}/broken.jsonl"], "broken.jsonl, line 2: not JSON"),
        (["{folder}/list.json"], "list.json, line 1: "),
        (["{folder}/utf16.jsonl"], "utf16.jsonl, line 1: not UTF-8"),
        (["{folder}/deep.jsonl"], "deep.jsonl, line 1: not JSON that can be read"),
        (["{folder}/empty.jsonl"], "empty.jsonl: holds no rows"),
        (["{folder}/twice.jsonl"], "twice.jsonl, line 2: the id"),
        (["{folder}/*.mp4", "--question", "Q?"], "no file matches"),
    ],
)
def test_the_command_refuses_before_it_loads_a_model(tmp_path, arguments, message):
    good = '{"id": "a", "media": "a.mp4", "question": "Q?"}\n'
    (tmp_path / "broken.jsonl").write_text(good + '{"id": "b", "media\n')
    (tmp_path / "list.json").write_text("[\n" + good + "]\n")
    (tmp_path / "utf16.jsonl").write_text(good, "utf-16")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "twice.jsonl").write_text(good.replace('"a"', f'"{"x" * 100_000}"') * 2)
    there = sorted(tmp_path.iterdir())
    call = ["batch", "--out", str(tmp_path / "out.jsonl"), *(one.format(folder=tmp_path) for one in arguments)]
    done = CliRunner().invoke(app, [*call, "--json", "--model", "embedded"])
    assert done.exit_code == 2 and message in json.loads(done.stdout)["error"]["message"]
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, 10, 0), "0 of 10 rows"),
        ((5, 20, 10), "5 of 20 rows, 30 a minute, 0:30 left"),
        ((1, 721, 10), "1 of 721 rows, 6 a minute, 2:00:00 left"),
        ((7, None, 60), "7 rows, 7 a minute"),
        ((20, 20, 10), "20 of 20 rows, 120 a minute"),
    ],
)
def test_progress_tells_rate_and_time_left(given, text):
    done, total, seconds = given
    assert rate(done, total, seconds, "rows") == text


@contextlib.contextmanager
def small_disk(folder: Path, kib: int):
    """A file system with room for so much; without the right to mount one the test is skipped."""
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if subprocess.run(call, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_full_disk_ends_the_run_with_one_error_and_keeps_what_was_answered(engine, tmp_path):
    (tmp_path / "media").mkdir()
    paths = tones(tmp_path / "media", 8)
    lines = [{"id": f"r{n}" + "x" * 1000, "media": path, "question": "Q?"} for n, path in enumerate(paths)]
    source = write(tmp_path / "in.jsonl", *lines)
    with small_disk(tmp_path / "disk", 12):
        out = tmp_path / "disk" / "out.jsonl"
        with pytest.raises(ManifestError, match=r"out.jsonl: cannot be written \(No space left") as caught:
            batch(engine, source, out, batch_size=1)
        kept = sum(text.endswith(b"\n") for text in out.read_bytes().splitlines(keepends=True))
        assert 0 < kept < 8 and f"{kept} row" in str(caught.value) and "same command continues" in caught.value.remedy
        subprocess.run(["mount", "-o", "remount,size=1m", str(tmp_path / "disk")], check=True)
        summary = batch(engine, source, out, batch_size=1)
        assert (summary.before, summary.answered) == (kept, 8 - kept)
        assert results_of(out).keys() == {line["id"] for line in lines}


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_answered_and_says_how_to_go_on(tmp_path):
    (tmp_path / "media").mkdir()
    tones(tmp_path / "media", 40)
    out = tmp_path / "out.jsonl"
    call = [sys.executable, "-m", "video_salmonn", "batch", str(tmp_path / "media"), "--question", "What is heard?"]
    call += ["--out", str(out), "--model", "tiny", "--batch-size", "1", "--workers", "2", "--max-new-tokens", "100"]
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may ignore it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(call, **pipes, start_new_session=True, preexec_fn=listens)
    while not out.is_file() or not out.read_bytes().count(b"\n"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the decoding processes, too
    said = process.stderr.read().decode()
    assert process.wait(60) == 130 and "Traceback" not in said
    assert f"interrupted: {len(results_of(out))} row" in said and "the same command continues" in said


@pytest.mark.slow
def test_300_rows_killed_twice_are_complete_unique_and_as_if_uninterrupted(tmp_path):
    (tmp_path / "media").mkdir()
    paths = tones(tmp_path / "media", 297)
    for name in ("x.mp4", "y.wav", "z.jpg"):
        (tmp_path / "media" / name).write_bytes(os.urandom(500))
    lines = [{"id": f"r{n}", "media": path, "question": f"What is sound {n}?"} for n, path in enumerate(paths)]
    lines[50:50] = [{"id": name, "media": f"media/{name}", "question": "What?"} for name in ("x.mp4", "y.wav", "z.jpg")]
    source = write(tmp_path / "in.jsonl", *lines)

    said = tmp_path / "stderr.txt"

    def start(out: Path) -> subprocess.Popen:
        call = [sys.executable, "-m", "video_salmonn", "batch", source, "--out", str(out), "--model", "tiny"]
        call += ["--max-new-tokens", "6", "--workers", "1"]
        with said.open("a") as stream:
            return subprocess.Popen(call, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=stream)

    def killed_at(out: Path, rows: int) -> None:
        process = start(out)
        while not out.is_file() or out.read_bytes().count(b"\n") < rows:
            assert process.poll() is None, said.read_text()[-2000:]
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()

    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    assert start(whole).wait() == 1, f"three rows failed: {said.read_text()[-2000:]}"
    killed_at(parts, 40)
    killed_at(parts, 170)
    assert start(parts).wait() == 1
    one, other = results_of(whole), results_of(parts)
    assert one.keys() == other.keys() == {line["id"] for line in lines}
    assert {name for name, line in other.items() if failed(line)} == {"x.mp4", "y.wav", "z.jpg"}
    assert {name: answer_of(line) for name, line in one.items()} == {n: answer_of(line) for n, line in other.items()}
    assert {name: line["id"] for name, line in one.items()} == {name: line["id"] for name, line in other.items()}
