"""Live input for a long time: memory, latency, and whether the transcript is the file's.

    python benchmarks/bench_live.py --minutes 60 --speed 10 --question "What is there?" --model tiny

A clip is played again and again, or with --file a long file once. Without --question it is transcribed, and compared
with `transcribe` of the file. ``pace`` is how many seconds of the stream were processed in a second. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import av
import psutil

from common import finish
from video_salmonn import VideoSalmonn
from video_salmonn.inference.live import LOOK_AHEAD, LiveSession
from video_salmonn.media.live import open_live

CLIP = Path(__file__).parents[1] / "examples" / "grid" / "swbo8n.mp4"


def repeated(clip: Path, out: Path, seconds: float) -> None:
    """Write a clip again and again, its packets as they are."""
    with av.open(str(clip)) as first, av.open(str(out), "w") as made:
        chosen = (first.streams.video[0], first.streams.audio[0])
        streams, at = {one.index: made.add_stream_from_template(one) for one in chosen}, 0.0
        while at < seconds:
            with av.open(str(clip)) as source:
                for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
                    if packet.dts is not None:
                        shift = round(at / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = streams[packet.stream.index]
                        made.mux(packet)
            at += float(first.duration / av.time_base) + 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--speed", type=float, default=10.0)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--decoder", default="model")
    parser.add_argument("--question")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--file", type=Path, help="A long file; --minutes and --clip are not used.")
    wanted = parser.parse_args()
    engine = VideoSalmonn.load(wanted.model)
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        file = wanted.file or Path(folder) / "long.mkv"
        if wanted.file is None:
            repeated(wanted.clip, file, 60 * wanted.minutes)
        options = engine.processor.media_options(use_video=wanted.question is not None)
        session = LiveSession(
            engine, question=wanted.question, decoder=wanted.decoder, max_new_tokens=4, speed=wanted.speed
        )
        events, rss, begun, reached = [], [], time.monotonic(), 0.0
        for portion in open_live(str(file), options, speed=wanted.speed):
            events += session.push(
                sound=portion.sound, start=portion.start, pictures=portion.pictures, arrived=portion.arrived
            )
            reached = portion.start
            if reached >= 60 * len(rss):  # one value a minute of the stream
                rss.append(process.memory_info().rss / 2**20)
                pace = reached / (time.monotonic() - begun)
                held = session.held_bytes / 2**20
                print(f"{reached:6.0f} s  RSS {rss[-1]:7.1f} MiB  held {held:6.2f} MiB  pace {pace:5.2f}", flush=True)
        events += session.finish()
        seconds = time.monotonic() - begun
        late = sorted(x for e in events for x in (e.latencies or (e.latency,)) if x is not None)
        results = {
            "minutes": round(reached / 60, 2),
            "speed": wanted.speed,
            "pace": round(reached / seconds, 3),
            "model": wanted.model,
            "seconds": seconds,
            "events": len(events),
            "latency": {"median": median(late), "p95": late[int(0.95 * len(late))], "most": late[-1]} if late else None,
            "rss_mib": {
                "after_2_minutes": rss[min(2, len(rss) - 1)],
                "most_later": max(rss[min(2, len(rss) - 1) :]),
                "end": process.memory_info().rss / 2**20,
            },
        }
        if wanted.question is None:
            whole = engine.transcribe(str(file), decoder=wanted.decoder, look_ahead=LOOK_AHEAD)
            results["transcript_is_the_files"] = [e.text for e in events] == [s.text for s in whole.segments]
            results["words"] = sum(len(s.text.split()) for s in whole.segments)
        finish("live", results, threads=1, seed=0)


if __name__ == "__main__":
    main()
