"""Media that are composed of files have features only where they were encoded before."""

import pytest

from video_salmonn.data.manifest import Item
from video_salmonn.errors import MediaError
from video_salmonn.training.sources import OnDemandFeatures

TURNS = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A zebra."}]


@pytest.mark.parametrize(("media", "kind"), [
    ({"image": {"file": "p.jpg", "imagine": 340, "seed": 0}}, "sight"),
    ({"video": {"length": 4, "slides": [{"file": "p.jpg", "at": 0}]}}, "sight"),
    ({"audio": {"layers": [{"noise": "white", "seed": 1}]}}, "sound"),
])  # fmt: skip
def test_composed_media_that_were_not_encoded_are_named_with_the_remedy(media, kind):
    source = OnDemandFeatures(None, None)  # type: ignore[arg-type]  # nothing is decoded
    with pytest.raises(MediaError, match=r"odd/1.*is composed of files") as caught:
        getattr(source, kind)(Item("odd/1", media, TURNS, "picture"))
    assert "encode-embedded" in (caught.value.remedy or "")
