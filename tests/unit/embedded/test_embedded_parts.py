"""Finding, checking and converting pretrained parts: made-up packages first, the real ones where installed."""

import hashlib
import json
import multiprocessing
import sys
from pathlib import Path

import pytest
import torch

from video_salmonn.cache import cache_home
from video_salmonn.embedded.parts import Part, PartFile, converted, directory, locate
from video_salmonn.embedded.pretrained import PARTS, load_efficientnet, load_language_model, load_whisper, load_yamnet
from video_salmonn.errors import CheckpointError, MissingPartError
from video_salmonn.features.patches import yamnet_patches

EXAMPLES = Path(__file__).parents[3] / "examples"


def copy_convert(sources, target):
    (target / "model.bin").write_bytes(b"".join(path.read_bytes() for path in sources))


def failing_convert(sources, target):
    (target / "half.bin").write_bytes(b"x")
    raise CheckpointError("damaged inside")


@pytest.fixture
def part(tmp_path, monkeypatch):
    package = tmp_path / "site" / "data_only_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must never be imported')\n")
    (package / "weights.bin").write_bytes(b"weights" * 100)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    digest = hashlib.sha256(b"weights" * 100).hexdigest()
    file = PartFile("data_only_package", "weights.bin", 700, digest)
    return Part("made-up", "Made up", ("data-only-package",), "CC0", (file,), copy_convert)


def test_part_is_converted_once_without_importing_its_package(part, tmp_path):
    assert converted(part, tmp_path) is None
    folder = directory(part, tmp_path)
    assert (folder / "model.bin").read_bytes() == b"weights" * 100
    assert json.loads((folder / "part.json").read_text())["licence"] == "CC0"
    assert "data_only_package" not in sys.modules
    stamp = (folder / "model.bin").stat().st_mtime_ns
    assert directory(part, tmp_path) == folder == converted(part, tmp_path)
    assert (folder / "model.bin").stat().st_mtime_ns == stamp
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_missing_package_names_the_remedy(tmp_path):
    file = PartFile("no_such_package_here", "weights.bin", 1, "0")
    with pytest.raises(MissingPartError) as caught:
        locate(file)
    assert "no_such_package_here/weights.bin" in str(caught.value)
    assert caught.value.remedy == "video-salmonn setup"


@pytest.mark.parametrize("content", [b"weights" * 99, b"weightz" * 100])
def test_other_content_is_refused_and_leaves_nothing(part, tmp_path, content):
    locate(part.files[0]).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.bin.*expected"):
        directory(part, tmp_path)
    assert not list(tmp_path.glob("parts/*"))


def test_failed_conversion_leaves_nothing(part, tmp_path):
    broken = Part("made-up", "Made up", (), "CC0", part.files, failing_convert)
    with pytest.raises(CheckpointError, match="damaged inside"):
        directory(broken, tmp_path)
    assert not list((tmp_path / "parts").iterdir())


def test_unwritable_cache_is_one_clear_error(part, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError) as caught:
        directory(part, tmp_path / "file")
    assert "VIDEO_SALMONN_HOME" in caught.value.remedy


def test_two_processes_at_once(part, tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        folders = pool.starmap(directory, [(part, tmp_path)] * 6)
    assert len(set(folders)) == 1
    assert [path.name for path in (tmp_path / "parts").iterdir()] == [folders[0].name]


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    assert cache_home() == tmp_path


def has(name):
    part = PARTS[name]
    try:
        return converted(part) is not None or all(locate(file) for file in part.files)
    except MissingPartError:
        return False


def needs(name):
    return pytest.mark.skipif(not has(name), reason=f"{name} is not installed: video-salmonn setup")


@needs("smollm2-135m")
def test_language_model_answers():
    model, tokenizer = load_language_model()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        tokens = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Paris" in answer


@needs("whisper-base")
def test_whisper_transcribes_a_tone_as_no_words():
    model, tokenizer, extractor = load_whisper()
    assert (model.config.d_model, model.config.encoder_layers, model.config.max_source_positions) == (512, 6, 1500)
    features = extractor([0.0] * 16000, sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        tokens = model.generate(features, language="en", task="transcribe", max_new_tokens=8)
    assert len(tokenizer.decode(tokens[0], skip_special_tokens=True)) < 40


@needs("yamnet")
def test_yamnet_hears_a_siren_like_sweep_and_silence():
    from video_salmonn.embedded.pretrained import yamnet_classes

    model, names = load_yamnet(), yamnet_classes()
    time = torch.arange(16000 * 4) / 16000
    sweep = 0.5 * torch.sin(2 * torch.pi * (800 * time + 300 / (2 * torch.pi) * torch.sin(2 * torch.pi * time)))
    both = torch.stack([sweep, torch.zeros_like(sweep)])
    with torch.no_grad():
        embeddings = model.embed(yamnet_patches(both))
        scores = model.scores(embeddings).mean(1)
    assert embeddings.shape == (2, 8, 1024)
    assert names[int(scores[1].argmax())] == "Silence"
    assert names[int(scores[0].argmax())] != "Silence"


@needs("yamnet")
@needs("efficientnet-lite0")
def test_both_heads_name_pictures_and_sounds_once_at_any_number_of_threads(tmp_path):
    from video_salmonn.embedded.data.further.names import Names
    from video_salmonn.embedded.data.further.teachers import name_all
    from video_salmonn.embedded.data.sources import Source

    (tmp_path / "broken.jpg").write_bytes(b"no picture")

    def source(name, kind, path):
        return Source(name, kind, str(path), "train", "CC0-1.0", "tests")

    shirt, helicopter = EXAMPLES / "shirt.jpg", EXAMPLES / "helicopter.flac"
    sources = [
        source("known", "photo", shirt),
        source("broken", "photo", "broken.jpg"),
        source("spoken", "read", shirt),
    ]
    sources += [source(f"shirt-{i}", "photo", shirt) for i in range(18)] + [source("heli", "sound", helicopter)]
    known = [Names("known", ("a hat",)), Names("gone", ("a boat",))]

    def named(threads):
        told = []
        return list(name_all(sources, tmp_path, known, report=lambda *line: told.append(line), threads=threads)), told

    (one, told), (three, also) = named(1), named(3)
    assert one == three and told == also
    assert one[0] == known[0] and {entry.id for entry in one} == {"known", *(f"shirt-{i}" for i in range(18)), "heli"}
    assert "a dog barking" in next(entry for entry in one if entry.id == "heli").absent
    assert [number for number, _ in told] == list(range(2, 22)), "counted from those that were known"
    assert [reason != "" for _, reason in told] == [True] + [False] * 19


@needs("efficientnet-lite0")
def test_efficientnet_grid_and_tokens():
    model = load_efficientnet()
    frames = torch.zeros(1, 2, 3, 224, 224)
    with torch.no_grad():
        features = model(frames)
        assert model.grid(frames[0]).shape == (2, 1280, 7, 7)
    assert features.values.shape == (1, 50, 1280)
    torch.testing.assert_close(features.values[:, :25], features.values[:, 25:])
