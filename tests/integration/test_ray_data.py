"""The batch as Ray Data stages: the same answers as the command gives, errors in their column, and a killed worker."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pandas
import psutil
import pytest
from test_batch import CLIP, PICTURE, SHORT, SOUND, tones

from video_salmonn import VideoSalmonn
from video_salmonn.bulk.ray_data import ANSWER, CLIPS, ERROR, REPORT, Decoder, VideoSalmonnPredictor, answered

COUNT = 200


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


def test_both_stages_without_a_cluster_give_the_answers_of_ask(engine, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    rows = [
        {"media": CLIP, "question": "What is said?", "mine": 1},
        {"media": PICTURE, "sound": SOUND, "question": "Do they fit?", "mine": 2},
        {"media": [PICTURE, SOUND], "question": None, "mine": 3},
        {"media": str(tmp_path / "broken.mp4"), "question": "What?", "mine": 4},
        {"media": CLIP, "question": "What is said?", "no_audio": True, "max_new_tokens": 2, "mine": 5},
        # as a column of objects holds it: fields that other rows have are there, and empty
        {"media": {"video": CLIP, "audio": None, "start": 0.5, "end": None}, "question": "What is said?", "mine": 6},
        {"media": {"image": PICTURE, "audio": SOUND}, "question": "Do they fit?", "mine": 7},
        {"media": {"picture": PICTURE}, "question": "What?", "mine": 8},
        {"media": [None], "question": "What?", "mine": 9},
    ]
    decode, predict = Decoder("tiny", SHORT), VideoSalmonnPredictor("tiny", "What are they?")
    found = predict(pandas.DataFrame([decode(row) for row in rows]))
    assert CLIPS not in found and list(found["mine"]) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert list(found[ANSWER]) == [
        engine.ask(CLIP, "What is said?", **SHORT).text,
        engine.ask(PICTURE, "Do they fit?", sound=SOUND, **SHORT).text,
        engine.ask([PICTURE, SOUND], "What are they?", **SHORT).text,
        "",
        engine.ask(CLIP, "What is said?", no_audio=True, max_new_tokens=2).text,
        engine.ask(CLIP, "What is said?", start=0.5, **SHORT).text,
        engine.ask(PICTURE, "Do they fit?", sound=SOUND, **SHORT).text,
        "",
        "",
    ]
    assert [bool(error) for error in found[ERROR]] == [False, False, False, True, False, False, False, True, True]
    assert "broken.mp4" in found[ERROR][3] and found[REPORT][3] == "" and "'picture'" in found[ERROR][7]
    assert json.loads(found[REPORT][5])["media"][0]["heard"]["status"] == "used"
    assert json.loads(found[REPORT][0])["media"][0]["heard"]["status"] == "used"


def test_a_row_without_any_question_has_its_error():
    found = VideoSalmonnPredictor("tiny")(pandas.DataFrame([Decoder("tiny", SHORT)({"media": PICTURE})]))
    assert found[ERROR][0] == "ConfigError: the row has no question"


def actors() -> list[psutil.Process]:
    """Processes of this machine's Ray that answer a batch just now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "VideoSalmonnPredictor)).submit" in " ".join(process.cmdline()):  # Ray names its processes so
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_200_rows_are_answered_once_although_a_worker_is_killed(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as the tests run; else a busy machine never gets to the workers
    ray = pytest.importorskip("ray")
    paths = tones(tmp_path, COUNT - 3)
    for name in ("a.wav", "b.mp4", "c.jpg"):
        (tmp_path / name).write_bytes(os.urandom(300))
        paths.insert(60, str(tmp_path / name))
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    killed = []

    def kill() -> None:
        """The first actor that is seen at work."""
        while not (working := actors()):
            time.sleep(0.02)
        killed.append(working[0].pid)
        working[0].send_signal(signal.SIGKILL)

    try:
        rows = ray.data.from_items([{"id": n, "media": path} for n, path in enumerate(paths)], override_num_blocks=10)
        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        made = answered(rows, model="tiny", question="What is heard?", options=SHORT, decoders=1, concurrency=2)
        found = {row["id"]: row for row in made.take_all()}
    finally:
        ray.shutdown()
    assert killed, "a worker was killed"
    assert sorted(found) == list(range(COUNT))
    assert {os.path.basename(paths[n]) for n, row in found.items() if row[ERROR]} == {"a.wav", "b.mp4", "c.jpg"}
    for number in range(0, COUNT, 17):
        if not found[number][ERROR]:
            assert found[number][ANSWER] == engine.ask(paths[number], "What is heard?", **SHORT).text
