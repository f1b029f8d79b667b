"""How a connector starts that is to say words."""

import pytest
import torch

from video_salmonn.connector.starts import QUIET, open_branch, widen_branch


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


def test_a_widened_branch_keeps_its_outputs_and_makes_room_for_more():
    generator = torch.Generator().manual_seed(7)
    head = torch.randn(30, 60, generator=generator)  # thirty names in sixty channels
    projection = torch.nn.Linear(60, 32)
    with torch.no_grad():  # it has learned two of them, and reads nearly nothing else
        projection.weight.copy_(torch.randn(32, 2, generator=generator) @ head[:2] + 0.001 * projection.weight)
    features = torch.randn(2000, 60, generator=generator) + head[torch.arange(2000) % 2]
    before, labels = projection(features).detach(), torch.arange(1500) % 30
    others = 0.5 * torch.randn(1500, 60, generator=generator) + head[labels]

    def told(values):  # nearest mean, as the test above
        values = values / values.std()
        noisy = values + 0.05 * torch.randn(values.shape, generator=generator)
        means = torch.stack([noisy[:900][labels[:900] == name].mean(dim=0) for name in range(30)])
        return (torch.cdist(noisy[900:], means).argmin(dim=1) == labels[900:]).float().mean()

    narrow = told(projection(others).detach())
    widen_branch(projection, features, head)
    after = projection(features).detach()
    assert ((after - before).square().mean() / before.var()).item() < 0.2
    wide = told(projection(others).detach())
    assert wide > 0.7 > 0.4 > narrow, (wide, narrow)
