import pytest
import torch

from video_salmonn.inference.streaming import WithoutLoops, without_loop
from video_salmonn.model.repeats import RepeatGuard, looped, settled


class Letters:
    """Decodes tokens as letters."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(96 + i) for i in ids)


LOOP = [9, 8, *[1, 2, 3, 4, 5, 6] * 4]


@pytest.mark.parametrize("partial", [0, 1, 5])
def test_a_loop_is_said_once(partial):
    assert looped(LOOP + LOOP[2 : 2 + partial], 4) == 8


def test_one_token_over_and_over_is_a_loop():
    assert looped([5, *[7] * 30], 4) == 2


@pytest.mark.parametrize(
    "ids",
    [
        [3, *[7] * 3],  # ha ha ha
        [7] * 10,  # one one one … ten digits
        [1, 2, 1, 2, 1, 2, 1, 2],  # no no, no no
        [9, *[1, 2, 3, 4, 5, 6, 7, 8] * 3],  # a refrain
        LOOP[:-1],
        [*LOOP, 11],
        [],
    ],
)  # fmt: skip
def test_what_people_repeat_is_left_alone(ids):
    assert looped(ids, 4) is None
    assert without_loop(ids, 4, (), Letters()) == (ids, "")


def test_the_guard_is_off_at_zero():
    assert looped(LOOP * 9, 0) is None


def test_rows_that_loop_end_and_others_go_on():
    rows = torch.tensor([LOOP, list(range(26))])
    assert RepeatGuard(4)(rows, None).tolist() == [True, False]


def test_the_answer_says_that_it_was_ended():
    kept, warning = without_loop([*LOOP, 2, 2], 4, (2,), Letters())  # padding behind it
    assert kept == [*LOOP[:-6][:8]] and "'abcdef', 4 times" in warning


class Collector:
    def __init__(self):
        self.ids, self.ended = [], False

    def put(self, value):
        self.ids += value.tolist()

    def end(self):
        self.ended = True


@pytest.mark.parametrize(
    "ids", [LOOP, [9, 1, 2, 1, 2, 3], [5, 5, 5], [1, 2, 3, 1, 2, 3, 1, 2, 4, 4], [5, *[7] * 30], [4]]
)
def test_a_stream_gives_what_the_answer_keeps(ids):
    collected = Collector()
    streamer = WithoutLoops(collected, 4)
    streamer.put(torch.zeros(1, 0, dtype=torch.long))
    for place, token in enumerate(ids):
        streamer.put(torch.tensor([token]))
        assert len(collected.ids) == settled(ids[: place + 1])
    streamer.end()
    assert collected.ids == without_loop(ids, 4, (), Letters())[0] and collected.ended
