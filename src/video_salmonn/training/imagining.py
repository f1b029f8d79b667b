"""Pictures that nobody took, made anew whenever an item comes by: a stored one is soon learned by heart."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from video_salmonn.data.manifest import Item
from video_salmonn.data.media_recipes import is_imagined
from video_salmonn.encoders.imagined import imagine
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.sources import FeatureSource


class Imaginer:
    """Imagines the pictures of items that ask for it (``{"file", "imagine", "seed"}``) in another photograph each time.

    Args:
        head: of the picture encoder: the mean of a picture's tokens to its logits.
        items: whose photographs are taken.
        source: of their features.

    Raises:
        ConfigError: no item is a photograph.
    """

    def __init__(self, head: nn.Linear, items: Sequence[Item], source: FeatureSource) -> None:
        self.weight, self.bias = head.weight.detach().float().cpu(), head.bias.detach().float().cpu()
        self.source = source
        pictures = {image: item for item in items if isinstance(image := item.media.get("image"), str)}
        self.photographs = [replace(item, media={"image": image}) for image, item in pictures.items()]
        if not self.photographs:
            raise ConfigError(
                "recipe: data.imagine_anew finds no photograph among the items", remedy="give items of the task picture"
            )

    def __call__(self, item: Item, features: MediaFeatures, rng: random.Random) -> MediaFeatures:
        """An item's features with its picture imagined anew; those of another item as they are, and those for which a
        photograph was drawn that cannot be used: an item of its own says so."""
        if not is_imagined(recipe := item.media.get("image")) or features.visual is None:
            return features
        try:
            visual = self.source.sight(rng.choice(self.photographs)).visual
        except MediaError:
            return features
        assert visual is not None
        moved, _ = imagine(visual[0].cpu(), self.weight, self.bias, int(recipe["imagine"]), rng.getrandbits(31))
        return replace(features, visual=moved[None].to(features.visual))
