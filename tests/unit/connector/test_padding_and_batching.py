"""Padding is masked, and a batch gives each item what it gets alone — for every modality mix."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from .conftest import features, make

TOLERANCE = 2e-5


def tokens(output, row=0):
    return output.tokens[row][output.mask[row]]


def lengths(counts, longest):
    return torch.arange(longest)[None] < torch.tensor(counts)[:, None]


def pad_stack(parts, length):
    rows = [F.pad(p, (*([0, 0] * (p.ndim - 1)), 0, length - p.shape[0]), value=7.0) for p in parts]
    return torch.stack(rows)


# sights and sounds of each item in frames; 0 is none at all
MIXES = [
    ((7, 7), (7, 7)),
    ((3, 3), (11, 11)),
    ((4, 9), (9, 4)),
    ((6, 0), (0, 6)),
    ((2, 0), (12, 0)),
    ((0, 1), (0, 13)),
    ((5, 5), (8, 0), (0, 3), (1, 12)),
]


def batch_of(items):
    """Items padded with rubbish (7.0) to the longest, and their masks."""
    longest = [max(pair[i] for pair in items) for i in (0, 1)]
    alone = [features(max(s, 1), max(h, 1), seed=i) for i, (s, h) in enumerate(items)]
    inputs = {}
    if longest[0]:
        inputs["visual"] = pad_stack([a["visual"][0][:s] for a, (s, _) in zip(alone, items)], longest[0])
        inputs["visual_mask"] = lengths([s for s, _ in items], longest[0])
    if longest[1]:
        for name in ("speech", "audio"):
            inputs[name] = pad_stack([a[name][0][: 25 * h] for a, (_, h) in zip(alone, items)], 25 * longest[1])
        inputs["sound_mask"] = lengths([h for _, h in items], longest[1])
    return inputs, alone


def single(alone, sight, sound):
    inputs = {}
    if sight:
        inputs["visual"] = alone["visual"]
    if sound:
        inputs |= {name: alone[name] for name in ("speech", "audio")}
    return inputs


@pytest.mark.parametrize("items", MIXES, ids=str)
@pytest.mark.parametrize("direction", ["past", "future", "none"])
@pytest.mark.parametrize("share", [True, False])
@torch.no_grad()
def test_batched_is_single(items, direction, share):
    connector = make(mask_direction=direction, share_qformer=share)
    inputs, alone = batch_of(items)
    together = connector(**inputs)
    for row, (sight, sound) in enumerate(items):
        one = connector(**single(alone[row], sight, sound))
        ours = tokens(together, row)
        assert ours.shape == tokens(one).shape == (3 * max(sight, sound), 32)
        torch.testing.assert_close(ours, tokens(one), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("items", MIXES, ids=str)
def test_batched_is_single_with_gradients_on(items):
    """With gradients the cross-attention takes its plain path; the law holds there too."""
    connector = make()
    inputs, alone = batch_of(items)
    together = connector(**inputs)
    for row, (sight, sound) in enumerate(items):
        one = connector(**single(alone[row], sight, sound))
        torch.testing.assert_close(tokens(together, row), tokens(one), atol=TOLERANCE, rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(any), min_size=1, max_size=4),
    direction=st.sampled_from(["past", "future", "none"]),
)
def test_batched_is_single_whatever_the_lengths(items, direction):
    with torch.no_grad():
        connector = make(mask_direction=direction)
        inputs, alone = batch_of(items)
        together = connector(**inputs)
        for row, (sight, sound) in enumerate(items):
            one = connector(**single(alone[row], sight, sound))
            torch.testing.assert_close(tokens(together, row), tokens(one), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("use", "kept"), [((1, 0), "visual"), ((0, 1), "sound"), ((1, 1), "both")])
@torch.no_grad()
def test_modality_mask_is_absence(connector, use, kept):
    """A modality that is switched off is the same as one that was never given, and what is in it cannot be told."""
    inputs = features(8)
    mask = torch.tensor([use])
    switched = connector(**inputs, modality_mask=mask)
    given = {k: v for k, v in inputs.items() if kept == "both" or (k == "visual") == (kept == "visual")}
    torch.testing.assert_close(tokens(switched), tokens(connector(**given)), atol=TOLERANCE, rtol=0)
    off = {k: v if k in given else torch.full_like(v, float("nan")) for k, v in inputs.items()}
    torch.testing.assert_close(tokens(connector(**off, modality_mask=mask)), tokens(switched), atol=0, rtol=0)


@torch.no_grad()
def test_modality_mask_per_item(connector):
    inputs = features(6, batch=3)
    use = torch.tensor([[1, 0], [0, 1], [1, 1]])
    together = connector(**inputs, modality_mask=use)
    for row in range(3):
        one = connector(**{k: v[row : row + 1] for k, v in inputs.items()}, modality_mask=use[row : row + 1])
        torch.testing.assert_close(tokens(together, row), tokens(one), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("direction", ["past", "future", "none"])
@pytest.mark.parametrize("rubbish", [3.0, 1e4, float("nan")])
@torch.no_grad()
def test_what_stands_in_padding_never_matters(direction, rubbish):
    connector = make(mask_direction=direction)
    inputs = features(12)
    masks = {"visual_mask": lengths([7], 12), "sound_mask": lengths([6], 12)}
    before = connector(**inputs, **masks)
    inputs["visual"][:, 7:] = rubbish
    inputs["speech"][:, 150:] = rubbish
    inputs["audio"][:, 150:] = rubbish
    after = connector(**inputs, **masks)
    assert before.mask.sum() == 21
    torch.testing.assert_close(tokens(after), tokens(before), atol=0, rtol=0)


@pytest.mark.parametrize("direction", ["past", "future", "none"])
@torch.no_grad()
def test_more_padding_never_matters(direction):
    """Padding to a longer neighbour, and to whole windows, leaves every real token as it was."""
    connector = make(mask_direction=direction)
    inputs = features(6)
    alone = connector(**inputs)
    padded = {k: F.pad(v, (0, 0, 0, 0, 0, 9) if k == "visual" else (0, 0, 0, 225)) for k, v in inputs.items()}
    longer = connector(**padded, visual_mask=lengths([6], 15), sound_mask=lengths([6], 15))
    torch.testing.assert_close(tokens(longer), tokens(alone), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_frame_masked_in_the_middle_is_not_read():
    """A lost frame (masked, not at the end) is invisible to the frames around it in every direction."""
    for direction in ("past", "future"):
        connector = make(mask_direction=direction)
        inputs = features(5)
        seen = torch.tensor([[True, True, False, True, True]])
        before = connector(visual=inputs["visual"], visual_mask=seen)
        inputs["visual"][:, 2] += 5.0
        after = connector(visual=inputs["visual"], visual_mask=seen)
        assert before.mask[0].tolist() == [True] * 6 + [False] * 3 + [True] * 6
        torch.testing.assert_close(tokens(after), tokens(before), atol=0, rtol=0)


def released(**changes):
    return make(attend_padding=True, trim_padding=False, mask_direction="future", **changes)


@torch.no_grad()
def test_released_profile_attends_to_padding_of_a_shorter_stream():
    """Kept under its own option: with attend_padding what is masked out by the default profile is read."""
    connector = released()
    inputs = features(5, 3)
    use = torch.tensor([[1, 0]])
    longer = features(5, 5)
    # zeros of the other modality up to ITS length count as frames, as in the release
    short = connector(**inputs, modality_mask=use)
    same = connector(**longer | {"visual": inputs["visual"]}, modality_mask=use)
    torch.testing.assert_close(short.tokens, same.tokens, atol=TOLERANCE, rtol=0)
    clip = features(5, 10)
    stretched = connector(**clip | {"visual": inputs["visual"]}, modality_mask=use)
    assert stretched.tokens.shape[1] == 30
    assert stretched.window_masks[1].tolist() == [[True, True]]


@torch.no_grad()
def test_released_profile_gives_all_tokens():
    output = released()(**features(6))
    assert output.tokens.shape[1] == 30
    assert output.mask.all()


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 40),
    windows=st.sampled_from([((1, 3),), ((1, 3), (10, 30)), ((2, 6), (4, 12)), ((2, 1), (4, 2)), ((2, 6), (3, 9))]),
    trim=st.booleans(),
)
def test_token_count(frames, windows, trim):
    with torch.no_grad():
        connector = make(
            levels=windows, trim_padding=trim, hidden_size=8, visual_dim=8, speech_dim=None, audio_dim=None
        )
        output = connector(torch.zeros(1, frames, 32, 8))
    config = connector.config
    per_frame = windows[0][1] / windows[0][0]
    whole = -(-frames // config.window_multiple) * config.window_multiple
    assert output.tokens.shape == (1, whole * per_frame, 32)
    assert int(output.mask.sum()) == config.tokens_for(frames)
    assert config.tokens_for(frames) == (-(-frames * windows[0][1] // windows[0][0]) if trim else whole * per_frame)


@pytest.mark.parametrize("coarseness", [2, 3])
@torch.no_grad()
def test_batched_is_single_with_stretched_windows(connector, coarseness):
    """Windows made longer for long media: fewer tokens, the same law."""
    items = ((7, 7), (14, 3), (0, 29))
    inputs, alone = batch_of(items)
    together = connector(**inputs, coarseness=coarseness)
    for row, (sight, sound) in enumerate(items):
        one = connector(**single(alone[row], sight, sound), coarseness=coarseness)
        assert tokens(one).shape[0] == connector.config.tokens_for(max(sight, sound), coarseness)
        torch.testing.assert_close(tokens(together, row), tokens(one), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("seconds", "released_tokens", "trimmed"), [(23.69, 150, 144), (30, 180, 180), (0.2, 30, 3)])
def test_tokens_of_the_released_sizes(seconds, released_tokens, trimmed):
    """6 tokens a second; the release rounds up to whole 5 s windows (its sound, padded to 30 s, makes it 180)."""
    from video_salmonn.connector import ConnectorConfig

    config = ConnectorConfig()
    assert config.tokens_per_second == 6
    assert config.tokens_for(config.frames_for(seconds)) == trimmed
    assert ConnectorConfig(trim_padding=False).tokens_for(config.frames_for(seconds)) == released_tokens


@torch.no_grad()
def test_steps_that_end_inside_a_frame_are_zero_padded_before_their_projection(connector):
    """25 sound steps a frame; the shorter of the two sound streams is filled up with zeros, as released."""
    inputs = features(4, rest=17)
    filled = inputs | {"audio": F.pad(inputs["audio"], (0, 0, 0, 17))}
    torch.testing.assert_close(connector(**inputs).tokens, connector(**filled).tokens, atol=0, rtol=0)
    speech, audio = connector.project_sound(inputs["speech"], inputs["audio"])
    assert speech.shape == audio.shape == (1, 4, 25, 24)
    torch.testing.assert_close(audio[0, 3, -1], connector.audio_projection.bias)


@torch.no_grad()
def test_eval_is_deterministic_and_training_drops_out():
    connector = make(dropout=0.2)
    inputs = features(7)
    torch.testing.assert_close(connector(**inputs).tokens, connector(**inputs).tokens, atol=0, rtol=0)
    connector.train()
    assert (connector(**inputs).tokens - connector(**inputs).tokens).abs().max() > 1e-3


BAD = [
    ({}, "at least one"),
    ({"visual": torch.zeros(1, 2, 25, 24)}, r"visual is \(1, 2, 25, 24\), \(B, T, 32, 24\)"),
    ({"visual": torch.zeros(1, 2, 33, 24)}, "visual is"),
    ({"visual": torch.zeros(1, 64, 24)}, "visual is"),
    ({"speech": torch.zeros(1, 25, 19)}, r"speech is .* \(B, steps, 20\)"),
    ({"visual": torch.zeros(2, 2, 32, 24), "speech": torch.zeros(1, 50, 20)}, "batch sizes"),
    ({"visual": torch.zeros(1, 2, 32, 24), "visual_mask": torch.ones(1, 3).bool()}, "visual_mask is"),
    ({"speech": torch.zeros(1, 30, 20), "sound_mask": torch.ones(1, 30).bool()}, "sound_mask is"),
    ({"speech": torch.zeros(1, 30, 20), "modality_mask": torch.ones(2, 2)}, "modality_mask is"),
    ({"speech": torch.zeros(1, 30, 20), "zero_levels": (2,)}, "zero_levels"),
    ({"speech": torch.zeros(1, 30, 20), "zero_levels": (-1,)}, "zero_levels"),
    ({"speech": torch.zeros(1, 30, 20), "coarseness": 0}, "coarseness"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_what_does_not_fit_fails(connector, inputs, message):
    with pytest.raises(ValueError, match=message):
        connector(**inputs)


def test_a_stream_without_a_branch_fails():
    deaf = make(speech_dim=None, audio_dim=None)
    with pytest.raises(ValueError, match="speech"):
        deaf(visual=torch.zeros(1, 1, 32, 24), speech=torch.zeros(1, 25, 20))
    blind = make(visual_dim=None)
    with pytest.raises(ValueError, match="visual"):
        blind(visual=torch.zeros(1, 1, 32, 24))
    assert blind.config.slots == 25
    assert deaf.config.slots == 32


def test_modality_subsets_all_run():
    """Every subset of branches builds and runs, with gradients on and off."""
    for dims in itertools.product((24, None), (20, None), (12, None)):
        if not any(dims):
            continue
        connector = make(visual_dim=dims[0], speech_dim=dims[1], audio_dim=dims[2])
        inputs = {k: v for (k, v), dim in zip(features(6).items(), dims) if dim}
        output = connector(**inputs)
        assert output.tokens.shape == (1, 30, 32)
        assert output.mask.sum() == 18
        with torch.no_grad():
            torch.testing.assert_close(connector(**inputs).tokens, output.tokens, atol=TOLERANCE, rtol=0)
