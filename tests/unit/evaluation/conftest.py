import json
import shutil
from pathlib import Path

import pytest

ANNOTATIONS = Path(__file__).parents[2] / "fixtures" / "save" / "annotations"

MEDIA_FILES = """
LibriSpeech/test-clean/11/22/11-22-0000.flac LibriSpeech/test-clean/11/22/11-22-0001.flac
audiocaps/wavs/rqfQRErjfk8.wav audiocaps/wavs/Y-Abc_dEf12_30.wav
flickr30k/images/1000092795.jpg flickr30k/images/10002456.jpg
textvqa/train_images/003a8ae2ef43b901.jpg textvqa/train_images/00685bc495504d61.jpg
gqa/n161313.jpg
NExTVideo/1101/2574374895.mp4 NExTVideo/1015/5328004991.mp4
how2/-fZc293MpJk_3.33_3.68.mp4 how2/-fZc293MpJk_3.33_3.68.wav how2/-fZc293MpJk_4.00_9.10.mp4
vggss/aaaa_000010.mp4 vggss/aaaa_000010.wav vggss/bbbb_000020.mp4 vggss/bbbb_000020.flac
coco/COCO_val2014_000000000042.jpg spoken/m1-utt7.wav spoken/m2-utt9.wav
ego/14e96091-0000__2.mp4 ego/14e96091-0000__2.wav ego/25f00000-1111.mp4
talks/talk_12_120.50_146.30.mp4 talks/talk_12_120.50_146.30.wav
charades/7UPGT.mp4 charades/7UPGT.wav charades/AXIRQ.mp4
music/00000878.mp4 music/00004411.mp4
lrs2/main/1000000000000000001/00001.mp4 lrs2/main/1000000000000000001/00002.mp4
"""


@pytest.fixture
def data(tmp_path):
    """A data folder with every annotation schema and empty files under the media's names."""
    root = tmp_path / "data"
    shutil.copytree(ANNOTATIONS, root)
    for name in MEDIA_FILES.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def edit(data):
    """Change one annotation list in place: edit("gqa.json", lambda items: …)."""

    def change(name, function):
        file = data / name
        items = json.loads(file.read_text())
        function(items)
        file.write_text(json.dumps(items))
        return file

    return change
