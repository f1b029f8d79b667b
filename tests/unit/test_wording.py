"""Numbers in messages agree with their nouns."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from video_salmonn.wording import agree, counted

SOURCE = Path(__file__).parents[2] / "src" / "video_salmonn"
NOUNS = (
    r"frames|items|tokens|files|answers|questions|steps|seconds|windows|queries|beams|processes|errors|bytes|channels|"
    r"outputs|packets|gaps|samples|entries|lines|candidates|tasks|pictures|crops|stretches|conversations|threads|shards"
)
ALWAYS_MANY = re.compile(r"MODEL_ID|label|index \+ 1|max_|LETTERS|CLASSES|resamples|stride|WIDTH|of_many|frame_rate")


@pytest.mark.parametrize(
    ("number", "noun", "verb", "says"),
    [
        (1, "frame", "", "1 frame"),
        (0, "frame", "", "0 frames"),
        (2, "media token", "", "2 media tokens"),
        (1, "item", "have", "1 item has"),
        (3, "item", "have", "3 items have"),
        (2, "query", "", "2 queries"),
        (2, "process", "were", "2 processes were"),
        (2, "stretch", "", "2 stretches"),
        (2, "ray", "", "2 rays"),
    ],
)
def test_one_frame_and_two_frames(number, noun, verb, says):
    assert counted(number, noun, verb) == says


def test_a_number_can_have_a_form_and_a_verb_of_its_own():
    assert counted(1200, "byte", form=",") == "1,200 bytes"
    assert (agree(1, "have"), agree(2, "have")) == ("has", "have")


def test_no_message_says_1_frames():
    """A number right before a plural, in an f-string, is wrong for one; `counted` is right for any number."""
    wrong = []
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            for value, after in zip(node.values, node.values[1:]):
                if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                    continue
                found = re.match(rf" (?:[a-z-]+ )?({NOUNS})\b", str(after.value))
                expression = ast.unparse(value.value)
                if found and value.format_spec is None and not ALWAYS_MANY.search(expression):
                    wrong.append(f"{file.relative_to(SOURCE)}:{node.lineno}: {{{expression}}}{found[0]}")
    assert wrong == []


def test_a_picture_is_one_frame(capfd):
    """What a user reads about a single picture."""
    from typer.testing import CliRunner

    from video_salmonn.cli.main import app

    picture = Path(__file__).parents[1] / "fixtures" / "save-mini" / "flickr30k" / "coco_129648.jpg"
    said = CliRunner().invoke(app, ["probe", str(picture)]).output
    assert re.search(r"\b1 frame\b", said) and "1 frames" not in said
