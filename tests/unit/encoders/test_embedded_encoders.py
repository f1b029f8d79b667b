"""YAMNet's patches and the embedded encoders: shapes, alignment to frames, batched == single."""

import pytest
import torch

from video_salmonn.encoders.efficientnet import EfficientNetEncoder
from video_salmonn.encoders.resampler import GridResampler
from video_salmonn.encoders.same_padding import SameConv2d
from video_salmonn.encoders.yamnet import YamnetEncoder, yamnet_layers
from video_salmonn.features.patches import yamnet_log_mel, yamnet_patches
from video_salmonn.model.presets import embedded
from video_salmonn.model.tower import MediaTower


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (8000, 1), (8001, 2), (160_000, 20)])
def test_one_patch_a_frame(samples, frames):
    assert yamnet_patches(torch.zeros(2, samples)).shape == (2, frames, 96, 64)


def test_a_click_stands_in_the_middle_of_its_frames_patch():
    sound = torch.zeros(1, 8000 * 6)
    sound[0, 8000 * 3 + 4000] = 1.0  # the middle of frame 3
    energy = yamnet_patches(sound).exp().sum(-1)[0]
    assert energy.max(-1).values.argmax() == 3
    loud = (energy[3] > energy[3].min() * 1.01).nonzero().flatten().float()
    assert abs(loud.mean() - 47.5) <= 2


def test_patches_are_the_log_mel_around_the_frame():
    sound = torch.randn(1, 8000 * 8)
    patches = yamnet_patches(sound)
    torch.testing.assert_close(patches[0, 4], yamnet_log_mel(sound)[0, 4 * 50 - 23 : 4 * 50 + 73])


def test_patches_batched_equal_single_and_frames_extend():
    sound = torch.randn(3, 12_345)
    together = yamnet_patches(sound)
    for row in range(3):
        torch.testing.assert_close(together[row : row + 1], yamnet_patches(sound[row : row + 1]))
    longer = yamnet_patches(sound, frames=5)
    torch.testing.assert_close(longer[:, :2], together)


def test_log_mel_of_a_tone_peaks_at_its_band():
    time = torch.arange(16_000) / 16_000
    band = yamnet_log_mel(torch.sin(2 * torch.pi * 1000 * time))[50].argmax()
    # 64 bands between mel(125) = 185 and mel(7500) = 2774: 1000 Hz is mel 1000, the 19.4th edge
    assert int(band) in (19, 20)


@pytest.mark.parametrize("size", [7, 8, 224])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_padding_keeps_ceil_of_the_ratio(size, stride):
    out = SameConv2d(1, 1, 3, stride)(torch.zeros(1, 1, size, size))
    assert out.shape[-1] == -(-size // stride)


def test_same_padding_puts_the_odd_pixel_last():
    layer = SameConv2d(1, 1, 3, 2, bias=False)
    layer.weight.data.fill_(1.0)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    with torch.no_grad():
        out = layer(image)
    assert out[0, 0, 0, 0] == image[0, 0, :3, :3].sum()
    assert out[0, 0, 1, 1] == image[0, 0, 2:, 2:].sum()


def test_yamnet_repeats_each_frame_under_its_steps():
    torch.manual_seed(0)
    model = YamnetEncoder(steps_per_frame=25).eval()
    patches = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        features = model(patches)
        single = model(patches[1:])
    assert features.values.shape == (2, 75, model.width)
    assert (features.values[:, 25:26] == features.values[:, 25:50]).all()
    torch.testing.assert_close(features.values[1:], single.values)
    torch.testing.assert_close(features.times[[25, 26]], torch.tensor([0.5, 0.52]))
    assert len(yamnet_layers()) == len(model.layers) == 27


def test_efficientnet_tokens_keep_place_and_frames_are_independent():
    torch.manual_seed(0)
    model = EfficientNetEncoder().eval()
    frames = torch.rand(2, 2, 3, 224, 224)
    with torch.no_grad():
        features = model(frames)
        single = model(frames[:1, 1:])
    assert features.values.shape == (2, 50, model.width)
    torch.testing.assert_close(features.values[:1, 25:], single.values, rtol=1e-4, atol=1e-5)
    assert model.logits(frames[0]).shape == (2, 1000)


def test_resampler_pools_row_by_row():
    grid = torch.arange(49.0).reshape(1, 1, 7, 7)
    tokens = GridResampler(5)(grid)
    assert tokens.shape == (1, 25, 1)
    assert tokens[0, 0, 0] == grid[0, 0, :2, :2].mean()
    assert tokens[0, 24, 0] == grid[0, 0, 5:, 5:].mean()
    assert (tokens.flatten().diff() > 0)[:4].all()


def test_the_layout_of_channels_in_memory_does_not_change_the_eyes_values():
    torch.manual_seed(0)
    eye = EfficientNetEncoder().eval()
    for module in eye.modules():  # at their first values the activations would vanish
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    frames = torch.randn(3, 3, 224, 224)
    with torch.inference_mode():
        hidden = torch.nn.functional.relu6(eye._bn0(eye._conv_stem(frames)))
        for block in eye._blocks:
            hidden = block(hidden)
        plain = torch.nn.functional.relu6(eye._bn1(eye._conv_head(hidden)))
        found = eye.grid(frames)
    assert found.is_contiguous() and plain.abs().max() > 1
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_of_a_frame_do_not_depend_on_how_many_there_are(dtype):
    tower = MediaTower(embedded()).to(dtype).eval()
    frames = torch.randn(33, 3, 224, 224).to(dtype)
    patches, samples = torch.randn(9, 2, 96, 64).to(dtype), torch.full((9,), 16_000)
    with torch.inference_mode():
        many, few = tower.encode_frames(frames), tower.encode_frames(frames[-7:])
        assert torch.equal(many[-7:], few)
        heard = tower.encode_audio(patches, samples)
        assert torch.equal(heard[-3:], tower.encode_audio(patches[-3:], samples[-3:]))
        assert tower.encode_audio(patches[:1], samples[:1]).shape == heard[:1].shape
