"""``video-salmonn live`` with the tiny model: lines of JSON, the same text as for the file, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.cli.main import app
from video_salmonn.media.live import Portion

GRID = "examples/grid/swbo8n.mp4"


def lines(*arguments: str) -> list[dict]:
    """What the command prints with --json, one value a line."""
    result = CliRunner().invoke(app, ["live", *arguments, "--model", "tiny", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_file_in_real_time_has_the_transcript_of_the_file():
    found = lines(GRID, "--speed", "20")
    whole = VideoSalmonn.load("tiny").transcribe(GRID, look_ahead=10.0)
    assert found[0]["type"] == "start" and found[0]["waits"] == {"transcript": 10.0}
    texts = [one for one in found if one["type"] == "transcript"]
    assert [(one["start"], one["end"], one["text"]) for one in texts] == [
        (round(one.start, 3), round(one.end, 3), one.text) for one in whole.segments
    ]
    assert found[-1]["type"] == "end" and found[-1]["events"] == len(texts)
    assert all(one["latency"] >= 0 for one in texts)
    assert any("random weights" in note for note in found[-1]["warnings"])


def test_a_standing_question_is_answered_about_a_pipe(tmp_path):
    import av

    place, fifo = tmp_path / "clip.mkv", tmp_path / "fifo"
    with av.open(GRID) as source, av.open(str(place), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    os.mkfifo(fifo)
    threading.Thread(target=lambda: fifo.write_bytes(place.read_bytes()), daemon=True).start()
    question = ["--question", "What is there?", "--max-new-tokens", "4"]
    found = lines(str(fifo), *question, "--no-audio")
    (answer,) = [one for one in found if one["type"] == "answer"]
    asked = VideoSalmonn.load("tiny").ask(GRID, "What is there?", no_audio=True, max_new_tokens=4)
    assert (
        answer["text"] == asked.text and answer["start"] == 0 and answer["media_tokens"] == asked.report["media_tokens"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_loses_nothing_that_was_received(number):
    from video_salmonn.cli.live import Ending, follow
    from video_salmonn.inference.live import LiveSession
    from video_salmonn.media.live import open_live

    engine = VideoSalmonn.load("tiny")

    class Interrupted(LiveSession):
        def _written(self, samples, place):
            if not found:
                os.kill(os.getpid(), number)
            return super()._written(samples, place)

    whole = engine.transcribe(GRID, look_ahead=2.0).segments
    assert len(whole) > 1
    found: list = []
    session = Interrupted(engine, look_ahead=2.0)
    stream = open_live(GRID, engine.processor.media_options(use_video=False), speed=20)
    with Ending() as ending:
        follow(session, stream, found.append, ending)
    assert found[0].text == whole[0].text and found[0].end == whole[0].end
    assert [one.start for one in found] == [one.start for one in whole][: len(found)], "without a gap"


def test_a_second_interruption_waits_for_nothing(capsys):
    from video_salmonn.cli.live import Ending, follow

    class Working:
        def push(self, **portion):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second signal was ignored")

        def finish(self):
            pytest.fail("the rest was processed")

    with Ending() as ending:
        follow(Working(), [Portion((), None, 0.0, 0.0)], print, ending)
    assert ending.is_urgent and "interrupted twice" in capsys.readouterr().err


def test_lines_for_people():
    result = CliRunner().invoke(
        app, ["live", GRID, "--model", "tiny", "--speed", "20", "--question", "What?", "--max-new-tokens", "3"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("0:00-0:03  ")
    assert "latency: median" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "no such file"),
        ([GRID, "--speed", "0"], "speed is 0"),
        ([GRID, "--no-audio"], "a transcript needs sound"),
        ([GRID, "--decoder", "ear"], "decoder is 'ear'"),
        ([GRID, "--microphone", "default"], "is for cameras"),
        (["-", "--speed", "2"], "speed is for files"),
        ([GRID, "--question", "What?", "--every", "3"], "every is 3 s"),
    ],
)
def test_what_cannot_be_is_one_clear_error(arguments, message):
    result = CliRunner().invoke(app, ["live", *arguments, "--model", "tiny", "--json"])
    assert result.exit_code == 2
    error = json.loads(result.stdout.splitlines()[-1] if result.stdout.startswith('{"type') else result.stdout)["error"]
    assert message in error["message"] and error["remedy"]
