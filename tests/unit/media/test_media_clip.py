"""Good files of every kind: the right frames at the right times, the right sound at the right place."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from media_make import click, number, numbered, rotate_header, tone, write

from video_salmonn.errors import ConfigError
from video_salmonn.media import ArraySound, ArrayVideo, Limits, MediaOptions, iter_clip, load_clip, probe

KINDS = {
    "mp4": {},
    "mov": {},
    "ts": {},
    "mkv": {"acodec": "flac"},
    "webm": {
        "vcodec": "libvpx",
        "acodec": "libopus",
        "rate": 48_000,
        "voptions": {"deadline": "realtime", "cpu-used": "8"},
    },
    "avi": {"vcodec": "mpeg4", "acodec": "pcm_s16le"},
    "mpg": {"vcodec": "mpeg1video", "acodec": "mp2"},
    "gif": {"vcodec": "gif", "pix_fmt": "rgb8", "acodec": None},
}


def full_decode(path, stream=0, start_at_first=True):
    """Every frame of the file with its time, by the plainest loop there is."""
    with av.open(str(path)) as container:
        found = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=stream)]
    zero = found[0][0] if start_at_first else 0.0
    return [(time - zero, picture) for time, picture in found]


def on_screen(decoded, t, half):
    return (
        [picture for time, picture in decoded if time <= t + half][-1] if decoded[0][0] <= t + half else decoded[0][1]
    )


def onset(sound: np.ndarray, level: float = 0.25) -> float:
    return float(np.argmax(np.abs(sound) > level * np.abs(sound).max())) / 16_000


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_an_independent_decode_shows(made, kind):
    path = made(f"a.{kind}", **KINDS[kind])
    clip = load_clip(path)
    decoded = full_decode(path)
    assert clip.report.seen.status == "used"
    assert clip.frames.times.tolist() == [k / 2 for k in range(len(clip.frames))]
    assert len(clip.frames) == int(np.ceil((clip.report.seen.end - 0.02) * 2))
    half = 0.0 if kind == "gif" else 0.0201  # animated pictures tell the length of every frame exactly
    for t, frame in zip(clip.frames.times, clip.frames.frames):
        assert number(frame) == number(on_screen(decoded, t, half))


@pytest.mark.parametrize("name", ["flower.webm", "nasa_13013.mp4", "big_buck_bunny_small.mp4", "lbax4n.mpg"])
def test_real_clips_match_an_independent_decode(clips, name):
    clip = load_clip(clips / name)
    decoded = full_decode(clips / name, stream=1 if "nasa" in name else 0)
    assert clip.frames.frames.shape[1:] == decoded[0][1].shape
    for t, frame in zip(clip.frames.times, clip.frames.frames):
        difference = frame.astype(int) - on_screen(decoded, t, 0.0201).astype(int)
        assert np.abs(difference).mean() < 1.0


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "ts", "mpg", "webm", "avi"])
def test_clap_and_flash_stay_together(made, kind):
    """A white frame and a click at 2.0 s: the same file decoded frame by frame shows both at the same time."""
    options = dict(KINDS[kind])
    rate = options.get("rate", 44_100)
    path = made(f"clap.{kind}", sound=click(4, rate, [2.0]), flash_at=2.0, **options)
    decoded = full_decode(path, start_at_first=False)
    flash = next(time for time, picture in decoded if number(picture) == 4095)
    clap = reference_onset(path)
    clip = load_clip(path, options=MediaOptions(frame_times=25.0))
    shown = next(t for t, frame in zip(clip.frames.times, clip.frames.frames) if number(frame) == 4095)
    assert abs((onset(clip.sound.samples) - shown) - (clap - flash)) < 0.001 + 0.02  # the grid of 25 frames a second
    assert abs(onset(clip.sound.samples) - (clap - decoded[0][0])) < 0.001


def reference_onset(path) -> float:
    """When the click sounds on the file's own clock, from the samples of the first channel."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.sample_rate, f.to_ndarray().reshape(-1)) for f in container.decode(audio=0)]
    peak = max(float(np.abs(samples.astype(float)).max()) for _, _, samples in frames)
    for time, rate, samples in frames:
        loud = np.flatnonzero(np.abs(samples.astype(float)) > 0.25 * peak)
        if len(loud):
            return time + loud[0] / rate
    raise AssertionError("no click")


@pytest.mark.parametrize("audio_at,video_at", [(1.5, 0.0), (0.0, 1.0), (7.0, 7.0), (9.0, 7.0)])
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_streams_that_start_late(made, kind, audio_at, video_at):
    path = made(
        f"late.{kind}", acodec="pcm_s16le" if kind == "mkv" else "aac", rate=16_000, sound=click(4, 16_000, [2.0]),
        audio_at=audio_at, video_at=video_at,
    )  # fmt: skip
    clip = load_clip(path)
    zero = min(audio_at, video_at)
    assert onset(clip.sound.samples) == pytest.approx(2.0 + audio_at - zero, abs=0.0015)
    late_picture = video_at - zero
    assert number(clip.frames.frames[round(2 * late_picture) + 2]) == 25
    assert clip.report.seen.end == pytest.approx(4.0 + late_picture, abs=0.01)
    if late_picture:
        assert number(clip.frames.frames[0]) == 0
        assert any("the picture starts at 1.00 s" in w for w in clip.report.warnings)
    if audio_at - zero > 0.1:
        assert np.abs(clip.sound.samples[: int((audio_at - zero - 0.1) * 16_000)]).max() == 0
        assert clip.report.heard.start == pytest.approx(audio_at - zero, abs=0.07)
        assert any("the sound starts at" in w for w in clip.report.warnings)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_000])
def test_sound_has_its_exact_length_and_pitch(made, rate):
    path = made("s.wav", vcodec=None, acodec="pcm_s16le", rate=rate, sound=tone(2.5, rate, 440, 0.5))
    clip = load_clip(path)
    assert clip.frames is None and clip.report.seen.status == "absent"
    assert len(clip.sound.samples) == 40_000 and clip.sound.rate == 16_000
    expected = 0.5 * np.sin(np.arange(40_000) * 2 * np.pi * 440 / 16_000)
    assert np.abs(clip.sound.samples[200:-200] - expected[200:-200]).max() < 2e-3


@pytest.mark.parametrize(
    "name,codec,rate",
    [
        ("s.flac", "flac", 44_100), ("s.mp3", "libmp3lame", 44_100), ("s.ogg", "libopus", 48_000),
        ("s.opus", "libopus", 48_000), ("s.m4a", "aac", 44_100), ("s.wav", "pcm_f32le", 22_050),
        ("s.mka", "ac3", 48_000),
    ],
)  # fmt: skip
def test_sound_formats(made, name, codec, rate):
    path = made(name, vcodec=None, acodec=codec, rate=rate, sound=tone(3.0, rate))
    clip = load_clip(path)
    heard = clip.report.heard
    assert heard.status == "used" and clip.frames is None
    assert clip.duration == pytest.approx(3.0, abs=0.06)
    spectrum = np.abs(np.fft.rfft(clip.sound.samples[8_000:24_000]))
    assert np.argmax(spectrum) == 440
    assert np.abs(clip.sound.samples[8_000:24_000]).max() == pytest.approx(0.5, abs=0.05)


def test_channels_mix_without_clipping_and_5_1_is_heard(made):
    stereo = made(
        "st.wav", vcodec=None, acodec="pcm_s16le", layout="stereo", rate=16_000, sound=tone(1, 16_000, level=0.9)
    )
    assert np.abs(load_clip(stereo).sound.samples).max() == pytest.approx(0.9, abs=0.01)
    surround = np.zeros((6, 16_000), np.float32)
    surround[2] = tone(1, 16_000)[0]  # speech in the centre channel only
    path = made("sur.wav", vcodec=None, acodec="pcm_s16le", layout="5.1", rate=16_000, sound=surround)
    assert np.abs(load_clip(path).sound.samples).max() > 0.1
    assert load_clip(path).report.streams[0]["channels"] == 6


def test_released_sound_is_the_first_channel_and_at_least_three_seconds(made):
    both = np.stack([tone(1, 16_000, 300)[0], tone(1, 16_000, 2000)[0]])
    path = made("lr.wav", vcodec=None, acodec="pcm_s16le", layout="stereo", rate=16_000, sound=both)
    clip = load_clip(path, options=MediaOptions(sound_mode="released"))
    assert len(clip.sound.samples) == 48_000
    assert np.abs(clip.sound.samples[:16_000] - both[0]).max() < 1e-3
    assert not clip.sound.samples[16_000:].any()
    assert "padded with silence to 3 s" in clip.report.warnings[0]
    assert len(load_clip(path).sound.samples) == 16_000


def test_variable_frame_rate_shows_what_was_on_screen(made):
    times = [0.0, 0.1, 0.4, 1.7, 1.75, 2.9, 3.0]
    path = made("vfr.mkv", times=times, acodec=None)
    clip = load_clip(path)
    assert [number(f) for f in clip.frames.frames] == [0, 2, 2, 2, 4, 4, 6]
    assert clip.report.heard.status == "absent" and clip.sound is None


def test_other_rates_and_one_frame_a_second_sources(made):
    path = made("a.mp4")
    assert [number(f) for f in load_clip(path, options=MediaOptions(frame_times=5.0)).frames.frames] == [
        k * 5 for k in range(20)
    ]
    slow = made("slow.mp4", fps=1, seconds=5, acodec=None)
    assert [number(f) for f in load_clip(slow).frames.frames] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    fast = made("fast.mp4", fps=240, seconds=1, acodec=None)
    assert [number(f) for f in load_clip(fast).frames.frames] == [0, 120]


def test_released_times_are_first_and_last_of_each_second_and_the_last_shifts_back(made):
    clip = load_clip(made("a.mp4", seconds=2.4), options=MediaOptions(frame_times="released"))
    assert [number(f) for f in clip.frames.frames] == [0, 24, 25, 49, 35, 59]
    assert clip.frames.times == pytest.approx([0, 0.96, 1.0, 1.96, 1.4, 2.36])
    whole = load_clip(made("a.mp4", seconds=3.0), options=MediaOptions(frame_times="released"))
    assert [number(f) for f in whole.frames.frames] == [0, 24, 25, 49, 50, 74]
    short = load_clip(made("a.mp4", seconds=0.4), options=MediaOptions(frame_times="released"))
    assert [number(f) for f in short.frames.frames] == [0, 9]


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotated_pictures_come_upright(tmp_path, quarters):
    path = tmp_path / "r.mp4"
    write(path, seconds=1, acodec=None)
    plain = load_clip(path).frames.frames
    rotate_header(path, quarters)
    turned = load_clip(path).frames.frames
    assert np.array_equal(turned, np.stack([np.rot90(f, -quarters) for f in plain]))
    small = load_clip(path, options=MediaOptions(frame_size=(30, 40))).frames.frames
    assert small.shape[1:3] == (30, 40)
    assert number(np.rot90(small[1], quarters)) == number(plain[1])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 33), (1921, 3), (4098, 2304)])
def test_odd_and_large_sizes(made, size):
    path = made("odd.mkv", vcodec="ffv1", pix_fmt="bgr0", size=size, seconds=0.5, fps=2, acodec=None)
    clip = load_clip(path)
    assert clip.frames.frames.shape == (1, size[1], size[0], 3)
    scaled = load_clip(path, options=MediaOptions(frame_size=(224, 224), scaling="area"))
    assert scaled.frames.frames.shape == (1, 224, 224, 3)


def test_ten_bit_and_transparent_pictures(made):
    ten = made("ten.mkv", vcodec="ffv1", pix_fmt="yuv420p10le", seconds=1, acodec=None)
    assert [number(f) for f in load_clip(ten).frames.frames] == [0, 13]
    glass = made("glass.mov", vcodec="qtrle", pix_fmt="argb", seconds=1, acodec=None)
    clip = load_clip(glass)
    assert [number(f) for f in clip.frames.frames] == [0, 13]
    assert not clip.report.warnings  # it could be transparent but is not


def test_high_dynamic_range_is_said_not_to_be_tone_mapped(tmp_path):
    path = tmp_path / "hdr.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        stream.codec_context.color_trc = 16  # PQ
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(numbered(index), "rgb24").reformat(format="yuv420p10le")
            frame.pts, frame.time_base = index, Fraction(1, 2)
            frame.color_trc = 16
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    clip = load_clip(path)
    assert [number(f) for f in clip.frames.frames] == [0, 1, 2, 3]
    assert clip.report.warnings == ["high dynamic range (PQ) is shown without tone mapping"]


def test_transparent_parts_are_shown_on_white(tmp_path):
    path = tmp_path / "t.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("qtrle", rate=2)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "argb"
        picture = np.zeros((16, 16, 4), np.uint8)
        picture[8:, :, 0] = 255  # opaque (alpha comes first) black below, transparent black above
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(picture, "argb")
            frame.pts, frame.time_base = index, Fraction(1, 2)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    clip = load_clip(path)
    assert clip.frames.frames[0, :8].min() == 255 and clip.frames.frames[0, 8:].max() == 0
    assert "transparent parts are shown on white" in clip.report.warnings


def test_stream_choice_is_reported_and_can_be_made(clips):
    path = clips / "nasa_13013.mp4"
    clip = load_clip(path)
    assert [s["index"] for s in clip.report.streams if s["chosen"]] == [3, 4]
    assert sum("streams: used #" in w for w in clip.report.warnings) == 2
    other = load_clip(path, options=MediaOptions(video_stream=0, audio_stream=1))
    assert other.frames.frames.shape[1:3] == (180, 320)
    assert [s["index"] for s in other.report.streams if s["chosen"]] == [0, 1]


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    write(path, vcodec=None, acodec="libmp3lame", seconds=1)
    from media_make import add_cover

    add_cover(path)
    clip = load_clip(path)
    assert clip.frames is None and clip.report.seen.status == "absent"
    assert "cover art" in clip.report.seen.detail
    assert [s["kind"] for s in clip.report.streams] == ["audio", "cover"]
    assert clip.report.heard.status == "used"


def test_stretch_of_a_file(made):
    path = made("long.mp4", seconds=20, sound=click(20, 44_100, [14.0]))
    clip = load_clip(path, options=MediaOptions(start=12.2, end=15.2))
    assert clip.duration == pytest.approx(3.0, abs=1e-6) and len(clip.sound.samples) == 48_000
    assert [number(f) for f in clip.frames.frames] == [305, 318, 330, 343, 355, 368]
    assert onset(clip.sound.samples) == pytest.approx(1.8, abs=0.001)
    assert clip.report.cuts == [
        "start=12.2: the first 12.2 s were not asked for",
        "end=15.2: 15.20 s up to 20.00 s was not asked for",
    ]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "mpg", "ts"])
def test_a_stretch_equals_the_same_stretch_of_the_whole(made, kind):
    options = dict(KINDS[kind])
    rate = options.get("rate", 44_100)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 16 * rate)).astype(np.float32)
    path = made(f"stretch.{kind}", seconds=16, sound=noise, gop=100, **options)
    whole = load_clip(path)
    part = load_clip(path, options=MediaOptions(start=11.0, end=14.0))
    assert np.array_equal(part.frames.frames, whole.frames.frames[22:28])
    expected = whole.sound.samples[11 * 16_000 : 14 * 16_000]
    assert len(part.sound.samples) == len(expected)
    # Containers round the time of the first packet, to whole milliseconds in Matroska.
    product = np.fft.irfft(np.fft.rfft(part.sound.samples) * np.conj(np.fft.rfft(expected)))
    lag = np.argmax(product)
    assert min(lag, len(product) - lag) <= 16
    assert product[lag] > 0.9 * np.square(expected).sum()


def test_iter_clip_hands_out_the_same_in_pieces(made):
    path = made("long.mp4", seconds=20, sound=click(20, 44_100, [14.0]))
    whole = load_clip(path)
    with iter_clip(path, segment=6.0) as stream:
        pieces = list(stream)
    assert [(p.start, round(p.end, 2)) for p in pieces] == [(0, 6), (6, 12), (12, 18), (18, 20.02)]
    assert [len(p.sound.samples) for p in pieces[:3]] == [96_000] * 3
    assert [len(p.frames) for p in pieces] == [12, 12, 12, 4]
    assert np.array_equal(np.concatenate([p.sound.samples for p in pieces]), whole.sound.samples)
    assert np.array_equal(np.concatenate([p.frames.frames for p in pieces]), whole.frames.frames)
    assert stream.report == whole.report


def test_separate_sound_replaces_the_files_own(made):
    video = made("a.mp4")
    sound = made("s.wav", vcodec=None, acodec="pcm_s16le", rate=16_000, sound=tone(3, 16_000, 1000))
    clip = load_clip(video, sound=sound)
    assert len(clip.sound.samples) == 48_000
    assert np.argmax(np.abs(np.fft.rfft(clip.sound.samples[:16_000]))) == 1000
    assert clip.duration == 4.0
    assert [s.get("source") for s in clip.report.streams if s["chosen"]] == [None, str(sound)]
    assert any("own sound was replaced" in w for w in clip.report.warnings)


def test_modalities_can_be_switched_off(made):
    path = made("a.mp4")
    seen = load_clip(path, options=MediaOptions(use_audio=False))
    assert seen.sound is None and seen.report.heard.status == "off" and len(seen.frames) == 8
    heard = load_clip(path, options=MediaOptions(use_video=False))
    assert heard.frames is None and heard.report.seen.status == "off"
    assert np.array_equal(heard.sound.samples, load_clip(path).sound.samples)


def test_silent_track_is_said_to_be_silent(clips):
    clip = load_clip(clips / "flower.webm")
    assert clip.report.heard.status == "silent" and clip.report.heard.detail == "nothing but silence"
    assert clip.sound is not None and not clip.sound.samples.any()


def test_bytes_file_objects_and_arrays_give_the_same(made):
    path = made("a.mp4")
    whole = load_clip(path)
    for source in (path.read_bytes(), io.BytesIO(path.read_bytes()), NoSeek(path.read_bytes())):
        clip = load_clip(source)
        assert np.array_equal(clip.frames.frames, whole.frames.frames)
        assert np.array_equal(clip.sound.samples, whole.sound.samples)
    frames = np.stack([numbered(k) for k in range(50)])
    assert [number(f) for f in load_clip(ArrayVideo(frames, 25)).frames.frames] == [0, 13, 25, 38]
    both = load_clip((frames, 25), sound=(tone(2, 16_000)[0], 16_000))
    assert len(both.frames) == 4 and np.abs(both.sound.samples - tone(2, 16_000)[0]).max() < 1e-4
    assert both.report.source == "<array>"
    picture = load_clip(frames[5])
    assert picture.frames.frames.shape[0] == 1 and picture.report.seen.detail == "picture"
    integers = (tone(1, 16_000)[0] * 32767).astype(np.int16)
    assert np.abs(load_clip(ArraySound(integers, 16_000)).sound.samples).max() == pytest.approx(0.5, abs=1e-3)


class NoSeek(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)

    def seekable(self) -> bool:
        return False


def test_limits_cut_and_say_so(made):
    path = made("long.mp4", seconds=20, sound=click(20, 44_100, [14.0]))
    clip = load_clip(path, options=MediaOptions(limits=Limits(max_seconds=5)))
    assert clip.duration == 5.0 and len(clip.frames) == 10 and len(clip.sound.samples) == 80_000
    assert clip.report.cuts == ["max_seconds=5: 5.00 s up to 20.00 s was not used"]
    few = load_clip(path, options=MediaOptions(limits=Limits(max_frames=7)))
    assert len(few.frames) == 7 and few.report.seen.end == 3.5
    assert few.report.cuts == ["max_frames=7: the picture from 3.50 s on was not used"]
    assert few.report.heard.end == pytest.approx(20.02, abs=0.01)
    assert load_clip(path).report.cuts == []


def test_probe_foretells_what_loading_finds(made, clips):
    paths = [made("a.mp4"), clips / "nasa_13013.mp4", clips / "big_buck_bunny_small.mp4", clips / "lbax4n.mpg"]
    for path in paths:
        foretold, found = probe(path), load_clip(path).report
        assert foretold.seen.status == found.seen.status and foretold.seen.frames == found.seen.frames
        assert foretold.duration == pytest.approx(found.duration, abs=0.05)
        assert foretold.streams == found.streams
        assert foretold.warnings == found.warnings


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame_times": "sometimes"}, {"frame_times": 0}, {"frame_times": -1}, {"frame_times": float("nan")},
        {"frame_times": 1e9}, {"use_video": False, "use_audio": False}, {"start": -1}, {"start": 5, "end": 5},
        {"end": float("nan")}, {"spotlight": 1}, {"frame_size": (0, 5)}, {"scaling": "magic"}, {"on_corrupt": "?"},
        {"sound_mode": "?"},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        MediaOptions(**wrong)
