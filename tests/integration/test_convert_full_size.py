"""The released layout at full size: counts of the key lists, and memory, on sparse files that hold zeros only.

Nothing of 30 GB is written: sources are sparse files, and shards get their headers and as many zeros without blocks.
"""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official_files import (
    RELEASED,
    Ref,
    beats_cfg,
    beats_shapes,
    delta_shapes,
    eva_shapes,
    instructblip_shapes,
    llm_config,
    llm_shapes,
    whisper_config,
    whisper_shapes,
)
from safetensors import safe_open
from test_convert import tokenizers  # noqa: F401
from transformers import AutoConfig

from video_salmonn.checkpoints.released.files import ReleasedTensors
from video_salmonn.checkpoints.released.plan import plan_conversion
from video_salmonn.checkpoints.released.sources import TensorFile
from video_salmonn.errors import CheckpointError
from video_salmonn.model.presets import preset
from video_salmonn.resources.cost import build_on_meta, parameters

SHAPES = {
    "delta": delta_shapes(RELEASED),
    "instructblip": instructblip_shapes(RELEASED, RELEASED.eva),
    "eva": eva_shapes(RELEASED),
    "beats": beats_shapes(RELEASED),
    "whisper": whisper_shapes(RELEASED),
    "llm": llm_shapes(RELEASED),
}


def test_the_key_lists_have_the_known_counts():
    assert len(SHAPES["delta"]) == 479
    assert len([name for name in SHAPES["delta"] if not name.startswith("low_Qformer")]) == 405
    assert len([name for name in SHAPES["delta"] if "lora_" in name]) == 320


def test_the_full_size_headers_make_the_released_preset():
    files = {source: TensorFile(Path(f"{source}.pt")) for source in SHAPES}
    refs = {
        source: {name: Ref(files[source], name, shape, torch.float16) for name, shape in shapes.items()}
        for source, shapes in SHAPES.items()
    }
    plan = plan_conversion(
        ReleasedTensors(
            **refs,
            instructblip_hf={},
            beats_cfg=beats_cfg(RELEASED) | {"max_distance": 800},
            whisper_config=whisper_config(RELEASED),
            instructblip_config={},
            text_config=AutoConfig.for_model(**llm_config(RELEASED)),
            where={source: f"{source}.pt" for source in SHAPES},
        )
    )
    ours, released = plan.config, preset("released-13b")
    assert ours.connector_config == released.connector_config
    assert ours.media_config.to_dict() == released.media_config.to_dict()
    assert ours.lora == released.lora
    assert ours.generation == released.generation
    for part in ("vision_config", "speech_config"):
        assert getattr(ours, part).to_dict() == getattr(released, part).to_dict()
    model = build_on_meta(ours)
    wanted = {name: tuple(t.shape) for name, t in build_on_meta(released).state_dict().items()}
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == wanted
    assert {entry.name: entry.shape for entry in plan.targets}.items() <= wanted.items()
    assert parameters(model) == parameters(build_on_meta(released))
    assert len([drop for drop in plan.dropped if drop.ref.name.startswith("low_Qformer")]) == 74


@pytest.mark.parametrize(
    ("source", "gone"),
    [
        ("delta", "Qformer.bert.encoder.layer.1."),
        ("delta", ".v_proj.lora_"),
        ("eva", "blocks.38."),
        ("eva", "blocks.0."),
        ("instructblip", "Qformer.bert.encoder.layer.11."),
    ],
)
def test_full_size_files_without_their_last_layer_are_refused_by_name(source, gone):
    files = {name: TensorFile(Path(f"{name}.pt")) for name in SHAPES}
    refs = {
        name: {
            n: Ref(files[name], n, shape, torch.float16)
            for n, shape in shapes.items()
            if name != source or gone not in n
        }
        for name, shapes in SHAPES.items()
    }
    found = ReleasedTensors(
        **refs,
        instructblip_hf={},
        beats_cfg=beats_cfg(RELEASED) | {"max_distance": 800},
        whisper_config=whisper_config(RELEASED),
        instructblip_config={},
        text_config=AutoConfig.for_model(**llm_config(RELEASED)),
        where={name: f"{name}.pt" for name in SHAPES},
    )
    with pytest.raises(CheckpointError, match="is missing") as caught:
        plan_conversion(found)
    assert gone in str(caught.value) and f"{source}.pt" in str(caught.value)


def sparse(path, shapes):
    """A safetensors file of float16 zeros that takes no room on the disk."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def shards(folder, shapes, count=3):
    """As Vicuna is published: three files and an index."""
    names, places = list(shapes), {}
    size = -(-len(names) // count)
    for i in range(count):
        own = names[i * size : (i + 1) * size]
        file = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
        sparse(folder / file, {name: shapes[name] for name in own})
        places |= dict.fromkeys(own, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


WORK = """
import resource, sys
from pathlib import Path
from unittest import mock
from test_convert_full_size import sparse
from video_salmonn.checkpoints import shards
from video_salmonn.checkpoints.released.convert import convert
from video_salmonn.checkpoints.released.given import ReleasedFiles
from video_salmonn.checkpoints.released.sources import TensorFile

folder = Path(sys.argv[1])
files = {name: folder / f"{name}.safetensors" for name in ("delta", "instructblip", "eva")}
files |= {"beats": folder / "beats.pt", "whisper": folder / "whisper", "llm": folder / "llm"}

def write(path, state, metadata):
    sparse(path, {name: tuple(tensor.shape) for name, tensor in state.items()})

hashing = mock.patch.object(TensorFile, "sha256", lambda self: "not hashed")
with mock.patch.object(shards, "write_tensors", write), hashing:
    convert(ReleasedFiles(**files, bert_tokenizer=folder / "bert"), folder / "out")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.slow
def test_full_size_files_convert_within_8_gb(tmp_path, tokenizers):  # noqa: F811
    for name in ("delta", "instructblip", "eva"):
        sparse(tmp_path / f"{name}.safetensors", SHAPES[name])
    beats = {name: torch.ones(shape, dtype=torch.float16) for name, shape in SHAPES["beats"].items()}
    torch.save({"cfg": beats_cfg(RELEASED), "model": beats}, tmp_path / "beats.pt")
    for name, config in (("whisper", whisper_config(RELEASED)), ("llm", llm_config(RELEASED))):
        (tmp_path / name).mkdir()
        shards(tmp_path / name, SHAPES[name])
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    for file in (tokenizers / "llm").iterdir():
        (tmp_path / "llm" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "bert").mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[unused{i}]" for i in range(30522 - 5))]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words))
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path)], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    gigabytes = float(done.stdout.split()[-1])
    print(f"peak {gigabytes:.2f} GB")
    assert gigabytes < 8
    found = {}
    for path in sorted((tmp_path / "out").glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    wanted = build_on_meta(preset("released-13b")).state_dict()
    assert found == {name: tuple(tensor.shape) for name, tensor in wanted.items() if "position_ids" not in name}
