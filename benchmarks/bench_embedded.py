"""How long a user of the embedded model waits: cold start, first token, whole answer, a second question; by dtype.

Every round starts a new process for each dtype, in turns, on one clip of 24 s with picture and sound (GRID clips of the
examples, one after the other; or any file). Seconds on the clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples" / "grid"
QUESTIONS = ("What words are spoken?", "What is in the picture?")
STAGES = ("decode", "features", "encode", "connect", "prefill", "generate")
SEED = 0


def joined(folder: Path, seconds: float, target: Path) -> Path:
    """The folder's clips one after the other, as one mp4 of so many seconds."""
    import av
    import numpy as np

    sources = sorted(folder.glob("*.mp4"))
    with av.open(str(target), "w") as out:
        picture = out.add_stream("libx264", rate=25)
        sound = out.add_stream("aac", rate=16000, layout="mono")
        picture.pix_fmt, picture.time_base = "yuv420p", Fraction(1, 25)
        shown = heard = turn = 0
        while shown < 25 * seconds:
            with av.open(str(sources[turn % len(sources)])) as source:
                frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
            with av.open(str(sources[turn % len(sources)])) as source:
                resampler = av.AudioResampler("flt", "mono", 16000)
                parts = [part for frame in source.decode(audio=0) for part in resampler.resample(frame)]
            frames = frames[: int(25 * seconds) - shown]
            samples = np.concatenate([part.to_ndarray()[0] for part in parts])[: len(frames) * 640]
            samples = np.pad(samples, (0, len(frames) * 640 - len(samples)))
            if not picture.codec_context.width or turn == 0:
                picture.height, picture.width = frames[0].shape[:2]
            for image in frames:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, shown = shown, shown + 1
                out.mux(picture.encode(frame))
            block = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="flt", layout="mono")
            block.sample_rate, block.pts, heard = 16000, heard, heard + len(samples)
            out.mux(sound.encode(block))
            turn += 1
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    return target


def one(clip: Path, dtype: str, threads: int, new_tokens: int) -> dict[str, Any]:
    """In a fresh process: load, first question, second question on the same clip."""
    started = time.perf_counter()
    import torch

    from video_salmonn import VideoSalmonn

    torch.set_num_threads(threads)
    model = VideoSalmonn.load("embedded", dtype=dtype)
    found: dict[str, Any] = {"ready": time.perf_counter() - started}
    for name, question in zip(("first", "second"), QUESTIONS):
        asked = time.perf_counter()
        pieces, first = model.stream(clip, question, max_new_tokens=new_tokens), None
        try:
            while True:
                next(pieces)
                first = first or time.perf_counter() - asked
        except StopIteration as done:
            answer = done.value
        found[name] = {"first_token": first, "answer": time.perf_counter() - asked}
        found[name] |= {stage: answer.report["seconds"][stage] for stage in STAGES}
    found["cold"] = found["ready"] + found["first"]["answer"]
    return found


def _medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        key: _medians([entry[key] for entry in rounds])
        if isinstance(rounds[0][key], dict)
        else round(median(entry[key] or 0.0 for entry in rounds), 3)
        for key in rounds[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, help="a file in place of the joined examples")
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.clip, options.one, options.threads, options.new_tokens)))
        return
    from common import finish

    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip or joined(EXAMPLES, options.seconds, Path(folder) / "joined.mp4")
        rounds: dict[str, list[dict[str, Any]]] = {dtype: [] for dtype in options.dtypes.split(",")}
        for _ in range(options.rounds):
            for dtype, found in rounds.items():
                command = [sys.executable, __file__, "--one", dtype, "--clip", str(clip)]
                command += ["--threads", str(options.threads), "--new-tokens", str(options.new_tokens)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(f"{dtype}: {done.stderr.strip().splitlines()[-1]}")
                found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    results = {dtype: _medians(found) for dtype, found in rounds.items()}
    print(f"{'':28s}" + "".join(f"{dtype:>10s}" for dtype in results))
    rows = [("ready", ("ready",)), ("cold start to whole answer", ("cold",))]
    for name in ("first", "second"):
        rows += [(f"{name} question: {key}", (name, key)) for key in ("first_token", "answer", *STAGES)]
    for title, path in rows:
        cells = []
        for found in results.values():
            value: Any = found
            for key in path:
                value = value[key]
            cells.append(f"{value:10.2f}")
        print(f"{title:28s}" + "".join(cells))
    base = next(iter(results.values()))
    for dtype, found in list(results.items())[1:]:
        ratio = found["first"]["answer"] / base["first"]["answer"]
        print(f"{dtype}: the first answer takes {ratio:.2f} times as long as in {next(iter(results))}")
    finish("embedded", {"clip_seconds": options.seconds, "dtypes": results}, threads=options.threads, seed=SEED)


if __name__ == "__main__":
    main()
