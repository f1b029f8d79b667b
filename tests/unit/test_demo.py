"""The demonstration is fair: its media lie in the repository, and nobody was trained on its questions."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from video_salmonn.embedded.data.asking.grammar import readings
from video_salmonn.embedded.data.asking.unknowable import LINES
from video_salmonn.embedded.data.asking.wordings import KINDS
from video_salmonn.embedded.data.wordings import WORDINGS

EXAMPLES = Path(__file__).parents[2] / "examples"


def scenes():
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SCENES


def plain(question):
    return re.sub(r"[^\w{}' ]", "", question).strip().lower()


def patterns():
    """All wordings of training as expressions: what is asked for may be anything."""
    lines = [line for kind in KINDS.values() for line in kind.of("train")]
    lines += [line for group in LINES.values() for line in readings(group["train"])]
    lines += [line for train, _ in WORDINGS.values() for line in train]
    return [re.sub(r"\{\w+\}", ".+", re.escape(plain(line)).replace(r"\{", "{").replace(r"\}", "}")) for line in lines]


def test_the_demo_asks_about_media_of_every_kind_that_are_there():
    kinds = {media.suffix for media, _ in scenes()}
    assert all(media.is_file() for media, _ in scenes())
    assert {".mp4", ".flac", ".jpg"} <= kinds


def test_no_question_of_the_demo_is_worded_as_in_training():
    trained = patterns()
    assert len(trained) > 2000
    assert any(re.fullmatch(p, plain("Do you hear a dog barking here?")) for p in trained), "the expressions work"
    asked = [question for _, questions in scenes() for question in questions]
    assert len(asked) >= 10
    assert [q for q in asked if any(re.fullmatch(p, plain(q)) for p in trained)] == []
