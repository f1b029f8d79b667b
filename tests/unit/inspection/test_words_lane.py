"""The lane of words: every word at its time, none over another, however many there are."""

from itertools import pairwise

import numpy as np
import pytest

from video_salmonn.inference.transcript import Word
from video_salmonn.inspection.layout import NARROW, WIDE
from video_salmonn.inspection.scene import width_of
from video_salmonn.inspection.timeline import Timeline, Tokens
from video_salmonn.inspection.timeline_scene import ROWS, Lanes, placed_words
from video_salmonn.types import Heard, MediaReport, Seen


def lanes(layout, seconds):
    report = MediaReport("clip.wav", seconds, Seen("absent"), Heard("used", 0.0, seconds))
    tokens = Tokens(np.ones(10, bool), seconds / 10)
    timeline = Timeline("tiny", report, 0.0, 0.5, seconds, seconds, None, None, (), tokens, 1, (), {})
    return Lanes(timeline, layout)


@pytest.mark.parametrize("layout", [WIDE, NARROW])
@pytest.mark.parametrize(("seconds", "count"), [(5, 6), (20, 60), (600, 1500)])
def test_words_do_not_cover_each_other_and_none_is_lost(layout, seconds, count):
    step = seconds / count
    words = [Word(i * step, (i + 1) * step, f"word{i}") for i in range(count)]
    placed = placed_words(lanes(layout, seconds), words)
    assert placed[0][0].start == 0 and placed[-1][0].end == pytest.approx(seconds)
    for row in range(ROWS):
        line = [(x, x + width_of(word.text)) for word, x, at in placed if at == row]
        assert all(left[1] <= right[0] for left, right in pairwise(line))
    assert all(0 <= x <= layout.width for _, x, _ in placed)
    if (seconds, layout) == (5, WIDE):
        assert [word.text for word, _, _ in placed] == [word.text for word in words]
