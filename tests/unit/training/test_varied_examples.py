"""Training examples with varied features: seeded, lengths that agree, moving pictures in step with their sound."""

import random
from dataclasses import replace

import torch

from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.variation import draw, frame_times, shown_frames, vary


def varied(features, rng):
    """One item drawn and carried out."""
    return vary([features], [draw(features, rng)])[0]


def still(frames=8):
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(frames, 6, generator=generator).repeat_interleave(25, dim=0)
    return MediaFeatures(
        visual=torch.randn(1, 5, 4, generator=generator),
        speech=torch.randn(25 * frames, 32, generator=generator),
        audio=audio,
        sound_frames=frames,
        still_frames=frames,
    )


def test_sound_changes_its_pace_and_all_lengths_agree():
    lengths = set()
    for seed in range(30):
        made = varied(still(), random.Random(seed))
        lengths.add(made.sound_frames)
        assert len(made.speech) == len(made.audio) == 25 * made.sound_frames == 25 * made.still_frames
        assert (made.audio.view(made.sound_frames, 25, -1) == made.audio[::25, None]).all()
    assert len(lengths) > 1
    one, two = (varied(still(), random.Random(5)) for _ in range(2))
    assert torch.equal(one.speech, two.speech) and torch.equal(one.visual, two.visual)


def test_what_was_heard_at_a_time_is_found_at_it_again():
    features = replace(still(), visual=None, still_frames=0)
    steps = torch.arange(200).float()[:, None] * torch.ones(1, 32)
    features = replace(features, speech=steps + 1.0)
    for seed in range(20):
        variation = draw(features, random.Random(seed))
        made = vary([features], [variation])[0]
        times = frame_times(made.sound_frames, variation)
        assert times[0, 0] == 0 and times[-1, 1] <= 4.0
        for frame, (begin, end) in enumerate(times):
            heard = made.speech[25 * frame : 25 * frame + 25].amax(1)
            heard = heard[heard > 0] / 50  # what is hidden is zero
            assert begin - 0.03 <= float(heard.min()) - 0.02 and float(heard.max()) <= end + 0.03
    assert frame_times(3, None).tolist() == [[0.0, 0.5], [0.5, 1.0], [1.0, 1.5]]


def test_moving_pictures_and_their_sound_keep_their_pace():
    moving = MediaFeatures(torch.randn(8, 5, 4), torch.randn(200, 32), torch.randn(200, 6), sound_frames=8)
    for seed in range(10):
        made = varied(moving, random.Random(seed))
        assert torch.equal(made.speech, moving.speech) and made.sound_frames == 8 and len(made.visual) == 8
    hidden = [(varied(moving, random.Random(seed)).visual == 0).all(dim=-1).float().mean() for seed in range(40)]
    assert min(hidden) == 0 and max(hidden) > 0


def test_pictures_alone_have_tokens_hidden():
    alone = MediaFeatures(visual=torch.randn(1, 5, 4), still_frames=10)
    made = [varied(alone, random.Random(seed)) for seed in range(20)]
    assert all(one.still_frames == 10 and one.speech is None for one in made)
    assert any((one.visual == 0).all(dim=-1).any() for one in made)


def test_a_pass_gives_every_item_what_it_gets_alone():
    items = [still(8), still(5), MediaFeatures(visual=torch.randn(1, 5, 4), still_frames=10), still(11)]
    drawn = [draw(item, random.Random(seed)) for seed, item in enumerate(items)]
    together = vary(items, drawn)
    for item, variation, one in zip(items, drawn, together):
        alone = vary([item], [variation])[0]
        assert (alone.sound_frames, alone.still_frames) == (one.sound_frames, one.still_frames)
        for name in ("visual", "speech", "audio"):
            torch.testing.assert_close(getattr(one, name), getattr(alone, name))
        assert shown_frames(item, variation) == (one.still_frames, one.sound_frames)


def test_a_pass_of_pictures_alone_is_given_few_of_their_tokens():
    picture = MediaFeatures(visual=torch.arange(25.0)[None, :, None].expand(1, 25, 4), still_frames=10)
    drawn = [draw(picture, random.Random(seed), (10,), (4, 25)) for seed in range(6)]
    assert len({variation.places for variation in drawn}) > 3
    several = vary([replace(picture) for _ in drawn], [replace(one, shown=None) for one in drawn])
    assert {one.places for one in several} == {drawn[0].places} and len(drawn[0].places) == 4
    sound = draw(still(), random.Random(0), (10,), (4, 25))
    assert sound.places is None
    mixed = vary([picture, still()], [drawn[0], sound])
    assert all(one.places is None for one in mixed)
