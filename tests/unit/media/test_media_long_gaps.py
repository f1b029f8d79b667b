"""Pictures that stand, and sound that pauses, for more than ten minutes stay where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from video_salmonn.media import MediaOptions, iter_clip, load_clip

SMALL = MediaOptions(frame_size=(8, 8))
RED, BLUE = (220, 30, 30), (30, 30, 220)
LATE = 665


def write(
    path: Path, pictures: Sequence[float], seconds: Sequence[int], stamps: dict[float, float] | None = None
) -> Path:
    """Pictures at the given times, blue from 665 s on; mono sound in those whole seconds, a beep from 665 s on.

    ``stamps`` replaces times in the file.
    """
    stamps = stamps or {}
    with av.open(str(path), "w") as out:
        video = audio = None
        packets = []
        if pictures:
            video = out.add_stream("libx264", rate=30, options={"bf": "0", "preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if seconds:
            codec = "pcm_s16le" if path.suffix == ".mkv" else "aac"
            audio = out.add_stream(codec, rate=8000, layout="mono")
        for time in pictures:
            picture = np.full((64, 64, 3), BLUE if time >= LATE else RED, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = round(stamps.get(time, time) * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None) if video else []
        size = (audio.codec_context.frame_size or 8000) if audio else 1
        for second in seconds:
            wave = 0.5 * np.sin(2 * np.pi * (1000 if second >= LATE else 200) * np.arange(8000) / 8000)
            for at in range(0, 8000 - size + 1, size):
                samples, kind = wave[None, at : at + size].astype(np.float32), "fltp"
                if path.suffix == ".mkv":
                    samples, kind = (samples * 32767).astype(np.int16), "s16"
                frame = av.AudioFrame.from_ndarray(samples, kind, "mono")
                frame.sample_rate, frame.time_base = 8000, Fraction(1, 8000)
                frame.pts = round(stamps.get(second, second) * 8000) + at
                packets += audio.encode(frame)
        packets += audio.encode(None) if audio else []
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            out.mux(packet)
    return path


def beeps(clip) -> list[int]:
    """Seconds of the clip in which the beep is heard."""
    seconds = clip.sound.samples[: len(clip.sound.samples) // 16000 * 16000].reshape(-1, 16000)
    loud = np.abs(np.fft.rfft(seconds)).argmax(axis=1)
    return np.flatnonzero((loud == 1000) & (seconds.std(axis=1) > 0.2)).tolist()


def first_blue(clip) -> float:
    return float(clip.frames.times[clip.frames.frames.mean((1, 2))[:, 2] > 128][0])


STILL = (0, 1, 2, 665, 666, 667)


@pytest.mark.parametrize("kind", ["mkv", "mp4", "ts"])
def test_a_screen_share_that_stands_for_eleven_minutes_changes_when_it_did(tmp_path, kind):
    clip = load_clip(write(tmp_path / f"share.{kind}", STILL, range(670)), options=SMALL)
    assert first_blue(clip) == pytest.approx(LATE, abs=0.51) and beeps(clip)[0] == pytest.approx(LATE, abs=1)
    assert len(clip.frames) >= 2 * 667 and not [w for w in clip.report.warnings if "jump" in w]


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_pictures_alone_that_stand_long_are_believed_by_the_duration(tmp_path, kind):
    clip = load_clip(write(tmp_path / f"still.{kind}", STILL, []), options=SMALL)
    assert first_blue(clip) == pytest.approx(LATE, abs=0.51) and not clip.report.warnings


@pytest.mark.parametrize("kind", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("before", [(), (0, 1, 2)])
def test_sound_that_begins_or_resumes_after_eleven_minutes_is_heard_there(tmp_path, kind, before):
    path = write(tmp_path / f"late.{kind}", range(670), [*before, *range(665, 670)])
    clip = load_clip(path, options=SMALL)
    assert beeps(clip)[0] == pytest.approx(LATE, abs=1)
    assert first_blue(clip) == pytest.approx(LATE, abs=0.51)
    assert not [w for w in clip.report.warnings if "jump" in w or "taken as 0" in w]


def test_both_streams_may_pause_together_where_the_duration_covers_it(tmp_path):
    clip = load_clip(write(tmp_path / "pause.mkv", STILL, [0, 1, 2, *range(665, 670)]), options=SMALL)
    assert first_blue(clip) == LATE and beeps(clip) == [*range(665, 670)]


def test_pieces_of_a_long_still_picture_are_those_of_the_whole(tmp_path):
    path = write(tmp_path / "share.mkv", STILL, [0, 1, 2, *range(665, 670)])
    whole, times, samples = load_clip(path, options=SMALL), [], []
    with iter_clip(path, options=SMALL) as stream:
        for piece in stream:
            times += [] if piece.frames is None else piece.frames.times.tolist()
            samples += [] if piece.sound is None else [piece.sound.samples]
    assert times == whole.frames.times.tolist() and np.array_equal(np.concatenate(samples), whole.sound.samples)


def test_a_stretch_behind_a_long_pause_begins_where_it_should(tmp_path):
    path = write(tmp_path / "share.mkv", STILL, [0, 1, 2, *range(665, 670)])
    clip = load_clip(path, options=MediaOptions(frame_size=(8, 8), start=660.0))
    assert first_blue(clip) == 5.0 and beeps(clip) == [5, 6, 7, 8, 9]


def test_a_jump_that_nothing_covers_is_still_an_error_of_the_time_stamps(tmp_path):
    stamps = {float(t): t + 95_000.0 for t in range(3, 6)}  # as where two recordings were joined
    path = write(tmp_path / "joined.ts", [float(t) for t in range(6)], [], stamps)
    clip = load_clip(path, options=SMALL)
    assert clip.duration < 10 and [w for w in clip.report.warnings if "jump" in w]
