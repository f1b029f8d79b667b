"""What `make demo` runs: several questions about one real clip, answered by the embedded model.

python examples/demo.py [CLIP] [QUESTION …]

The answers are streamed; what the model saw and heard when is drawn into demo-timeline.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transformers.utils import logging

from video_salmonn import VideoSalmonn
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.inspection.timeline_picture import to_png

CLIP = Path(__file__).parent / "grid" / "swbo8n.mp4"
QUESTIONS = (
    "What words are spoken?",
    "What colour does the speaker say?",
    "What is in the picture?",
    "What do you hear and what do you see?",
)
TIMELINE = Path("demo-timeline.png")


def main(clip: Path, questions: tuple[str, ...]) -> None:
    """Ask every question; the clip is decoded and encoded for the first one only."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = VideoSalmonn.load("embedded")
    print(f"{clip.name}  (model loaded in {model.load_seconds:.1f} s)\n")
    for question in questions:
        print(f"Q: {question}\nA: ", end="", flush=True)
        pieces = model.stream(clip, question, max_new_tokens=40)
        try:
            while True:
                print(next(pieces), end="", flush=True)
        except StopIteration as done:
            report = done.value.report
        seconds, media = report["seconds"], report["media"][0]
        source = "encoded before" if media["reused"] else "decoded and encoded now"
        print(f"\n   [{report['media_tokens']} media tokens, {source}; {seconds['total']:.1f} s]\n")
    for notice in model.notices:
        print(f"note: {notice}")
    print(f"seen: {media['seen']['status']}, {media['seen']['frames']} frames; heard: {media['heard']['status']}")
    TIMELINE.write_bytes(to_png(inspect_media(model, clip)))
    print(f"frames, sound, windows and media tokens on one time axis: {TIMELINE}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CLIP, tuple(sys.argv[2:]) or QUESTIONS)
