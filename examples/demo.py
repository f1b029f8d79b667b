"""What `make demo` runs: questions about real clips, a sound, a photograph and a silent film, put to the small model.

python examples/demo.py [FILE QUESTION …]

No training used these media, these people or these wordings. The answers are streamed; what the model saw and heard,
and when, is drawn into demo-timeline.png.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from video_salmonn import VideoSalmonn
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.inspection.timeline_picture import to_png

HERE = Path(__file__).parent
SCENES: tuple[tuple[Path, tuple[str, ...]], ...] = (
    (
        HERE / "clips" / "brbk7n.mp4",
        (
            "Please write out what you hear the person say.",
            "Whose voice is that, a man's or a woman's?",
            "Tell me what you can see.",
            "What did she have for breakfast?",
        ),
    ),
    (HERE / "clips" / "swiz3n.mp4", ("What is being said here?", "Do you notice a trumpet in the sound?")),
    (HERE / "helicopter.flac", ("Tell me what the sound is.", "Is there any picture to look at?")),
    (HERE / "shirt.jpg", ("What does the image show?", "Would that be a bicycle?")),
    (HERE / "clips" / "flower.mp4", ("Tell me what the sound is.",)),
)
TIMELINE = Path("demo-timeline.png")


def ask_all(model: VideoSalmonn, media: Path, questions: Sequence[str]) -> None:
    """Ask every question about one file, which is decoded and encoded for the first one only."""
    print(f"── {media.name}")
    for question in questions:
        print(f"Q: {question}\nA: ", end="", flush=True)
        pieces = model.stream(media, question, max_new_tokens=40)
        try:
            while True:
                print(next(pieces), end="", flush=True)
        except StopIteration as done:
            report = done.value.report
        seen, heard = (report["media"][0][sense]["status"] for sense in ("seen", "heard"))
        source = "encoded before" if report["media"][0]["reused"] else f"seen: {seen}, heard: {heard}"
        print(f"\n   [{report['media_tokens']} media tokens, {source}; {report['seconds']['total']:.1f} s]\n")


def main(arguments: Sequence[str]) -> None:
    """All scenes, or the given file and questions."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = VideoSalmonn.load("embedded")
    print(f"model loaded in {model.load_seconds:.1f} s\n")
    scenes = ((Path(arguments[0]), tuple(arguments[1:]) or SCENES[0][1]),) if arguments else SCENES
    for media, questions in scenes:
        ask_all(model, media, questions)
    for notice in model.notices:
        print(f"note: {notice}")
    TIMELINE.write_bytes(to_png(inspect_media(model, scenes[0][0])))
    print(f"frames, sound, windows and media tokens of {scenes[0][0].name} on one time axis: {TIMELINE}")


if __name__ == "__main__":
    main(sys.argv[1:])
