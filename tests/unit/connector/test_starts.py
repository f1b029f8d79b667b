"""How a connector starts that is to say words."""

import pytest
import torch

from video_salmonn.connector.starts import QUIET, open_branch


def test_an_opened_branch_keeps_what_tells_names_apart():
    generator = torch.Generator().manual_seed(5)
    labels = [index % 4 for index in range(400)]
    codes = torch.zeros(4, 40)
    codes[range(4), [30, 31, 32, 33]] = 1.0  # the names live in four faint channels; ten others are loud noise
    loudness = torch.cat([torch.full((10,), 20.0), torch.full((30,), 0.3)])
    features = codes[labels] + torch.randn(400, 40, generator=generator) * loudness
    projection = torch.nn.Linear(40, 8)
    open_branch(projection, features[:300], labels[:300])
    opened = projection(features).detach()
    assert opened.std(dim=0).mean() == pytest.approx(QUIET, rel=0.1) and opened.mean().abs() < 0.1

    def right(values):  # nearest mean of the training part
        means = torch.stack([values[:300][torch.tensor(labels[:300]) == label].mean(dim=0) for label in range(4)])
        return (torch.cdist(values[300:], means).argmin(dim=1) == torch.tensor(labels[300:])).float().mean()

    random = torch.nn.functional.linear(features, torch.randn(8, 40, generator=generator))
    assert right(opened) > 0.8 > 0.5 > right(random)
