"""How fast and how lean media are read: one pass against a bare decode loop, times real time, memory over an hour.

Candidates run in turn, round by round, on the same file in the same process: on a shared machine only times of one run
may be compared. Prints tables and ends with one line of JSON.

    python benchmarks/bench_media.py [--rounds 5] [--seconds 30] [--hour 3600]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from video_salmonn.media import MediaOptions, iter_clip, load_clip, probe

SIZES = {"360p": (640, 360), "720p": (1280, 720)}
MIB = 1 << 20


def make(path: Path, seconds: float, size: tuple[int, int], fps: int = 30, sound: bool = True) -> None:
    """Moving gradients with noise in H.264 (GOP 250) and a tone in AAC: content that costs decoding time."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3), dtype=np.uint8)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.array([1, 2, 3])
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "26", "g": "250"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = out.add_stream("aac", rate=44_100, layout="stereo") if sound else None
        pictures = [np.roll(((ramp + 9 * k) % 215 + noise).astype(np.uint8), 3 * k, axis=1) for k in range(32)]
        done = 0
        for index in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(pictures[index % 32], "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            out.mux(video.encode(frame))
            while audio is not None and done < (index + 1) / fps * 44_100:
                t = (done + np.arange(1024)) / 44_100
                tone = np.tile((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), (2, 1))
                piece = av.AudioFrame.from_ndarray(tone, "fltp", "stereo")
                piece.sample_rate, piece.pts, piece.time_base = 44_100, done, Fraction(1, 44_100)
                out.mux(audio.encode(piece))
                done += 1024
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))


def bare(path: Path, *, sound: bool) -> int:
    """Decode every frame with the same threads, convert nothing."""
    count = 0
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        streams = [video, container.streams.audio[0]] if sound else [video]
        for packet in container.demux(streams):
            count += len(packet.decode())
    return count


def ours(path: Path, **options: object) -> int:
    """Our pass: 2 frames per second at 224x224."""
    clip = load_clip(path, options=MediaOptions(frame_size=(224, 224), **options))
    assert clip.frames is not None
    return len(clip.frames)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds; the latter is what a busy machine disturbs least."""
    begun, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - worked


def speed(folder: Path, seconds: float, rounds: int) -> list[dict]:
    """Rounds of every candidate in turn; the ratio is taken within a round."""
    rows = []
    for name, size in SIZES.items():
        path = folder / f"{name}.mp4"
        make(path, seconds, size)
        candidates = {
            "bare, picture": lambda path=path: bare(path, sound=False),
            "ours, picture": lambda path=path: ours(path, use_audio=False),
            "bare, picture + sound": lambda path=path: bare(path, sound=True),
            "ours, picture + sound": lambda path=path: ours(path),
            "ours, sound": lambda path=path: load_clip(path, options=MediaOptions(use_video=False)),
            "ours, probe": lambda path=path: probe(path),
        }
        times: dict[str, list[tuple[float, float]]] = {key: [] for key in candidates}
        for _ in range(rounds):
            for key, work in candidates.items():
                times[key].append(timed(work))
        for key, values in times.items():
            wall, cpu = (statistics.median(column) for column in zip(*values))
            row = {"size": name, "what": key, "seconds": wall, "cpu_seconds": cpu, "x_real_time": seconds / wall}
            other = key.replace("ours", "bare")
            if key.startswith("ours") and other in times:
                for column, label in enumerate(("over_bare", "cpu_over_bare")):
                    row[label] = statistics.median(a[column] / b[column] for a, b in zip(values, times[other]))
            rows.append(row)
    return rows


def memory(folder: Path, seconds: float) -> dict:
    """Peak memory of one pass over a long file, against the same pass over its first two minutes."""
    path = folder / "long.mp4"
    make(path, seconds, (320, 180), fps=10)
    peaks = {}
    for name, end in (("two minutes", 120.0), ("whole", None)):
        command = [sys.executable, __file__, "--walk", str(path), "--end", str(end or 0)]
        peaks[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"file_seconds": seconds, "megabytes": path.stat().st_size / MIB, **peaks}


def peak_mib() -> float:
    """Peak resident memory of this process (getrusage would count the parent's before exec)."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def walk(path: str, end: float) -> None:
    """In a process of its own: read piece by piece and print the peak memory."""
    frames = samples = 0
    begun = time.perf_counter()
    with iter_clip(path, options=MediaOptions(frame_size=(224, 224), end=end or None)) as stream:
        for piece in stream:
            frames += 0 if piece.frames is None else len(piece.frames)
            samples += 0 if piece.sound is None else len(piece.sound.samples)
    peak = peak_mib()
    took = time.perf_counter() - begun
    print(json.dumps({"peak_mib": peak, "frames": frames, "sound_seconds": samples / 16_000, "seconds": took}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hour", type=float, default=3600.0)
    parser.add_argument("--walk", help=argparse.SUPPRESS)
    parser.add_argument("--end", type=float, default=0.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.walk:
        walk(given.walk, given.end)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = speed(folder, given.seconds, given.rounds)
        print(f"{'size':6} {'what':24} {'s':>8} {'x real time':>12} {'over bare':>10} {'CPU':>8} {'over bare':>10}")
        for row in rows:
            over, cpu = (f"{row[key]:.3f}" if key in row else "" for key in ("over_bare", "cpu_over_bare"))
            print(f"{row['size']:6} {row['what']:24} {row['seconds']:8.3f} {row['x_real_time']:12.1f}", end=" ")
            print(f"{over:>10} {row['cpu_seconds']:8.3f} {cpu:>10}")
        kept = memory(folder, given.hour)
        print(
            f"\npeak memory, iter_clip, 224x224: first two minutes {kept['two minutes']['peak_mib']:.0f} MiB,", end=" "
        )
        print(f"all {given.hour:.0f} s {kept['whole']['peak_mib']:.0f} MiB")
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    versions = {"python": platform.python_version(), "av": av.__version__}
    result = {
        "benchmark": "media",
        "rounds": given.rounds,
        "clip_seconds": given.seconds,
        "speed": rows,
        "memory": kept,
    }
    print(json.dumps({**result, **machine, **versions, "seed": 0}))


if __name__ == "__main__":
    main()
