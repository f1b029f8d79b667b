"""What ``--help`` shows below the options: one or two calls of every command that run from the repository's root."""

from __future__ import annotations

from typing import Any

_CLIP = "examples/grid/swbo8n.mp4"
_STORE = "--manifests runs/embedded-data --features runs/features"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (f'ask {_CLIP} "What words are spoken?"', "ask --help"),
    "ask": (
        f'ask {_CLIP} "What words are spoken?"',
        'ask examples/shirt.jpg "Does the sound fit the picture?" --sound examples/helicopter.flac',
        f'ask {_CLIP} "What is said?" --start 1 --end 2.5 --json',
        'ask examples/helicopter.flac "What do you hear?" --times --piece-seconds 3',
    ),
    "batch": (
        'batch examples/grid --question "What words are spoken?" --out runs/answers.jsonl',
        'batch "examples/*.flac" --question "What do you hear?" --out runs/sounds.jsonl',
        "batch requests.jsonl --out runs/part-2.jsonl --shards 2/8 --retry-failed",
    ),
    "chat": (f"chat {_CLIP}", f"chat {_CLIP} --no-video"),
    "convert": (
        "convert --dry-run --delta pytorch_model_4_5001.pt --instructblip instruct_blip_vicuna13b_trimmed.pth "
        "--eva eva_vit_g.pth --beats BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt --whisper whisper-large-v2 "
        "--llm vicuna-13b-v1.5 --bert-tokenizer bert-base-uncased --out video-salmonn-13b",
    ),
    "doctor": ("doctor", "doctor --json"),
    "data": ("data validate examples/grid/train.jsonl",),
    "data build-embedded": ("data build-embedded --source DATA --out runs/embedded-data",),
    "data speak-embedded": (
        "data speak-embedded --manifests runs/embedded-data",
        "data speak-embedded --manifests runs/embedded-data --device cuda --parts 1/2",
    ),
    "data encode-embedded": ("data encode-embedded --manifests runs/embedded-data --out runs/features",),
    "data validate": (
        "data validate examples/grid/train.jsonl",
        "data validate examples/grid/train.jsonl --decode",
    ),
    "data convert": ("data convert examples/formats/released.json --format released --out runs/released.jsonl",),
    "data prepare": ("data prepare librispeech LibriSpeech --split train-clean --out runs/librispeech.jsonl",),
    "data prepare-further": ("data prepare-further --clones CLONES --source DATA --out FURTHER",),
    "data name-further": ("data name-further --source DATA --further FURTHER",),
    "data answer-text": ("data answer-text --further FURTHER --prompts 200",),
    "data time-embedded": ("data time-embedded --manifests runs/embedded-data --features runs/features",),
    "data pack-media": ("data pack-media --manifests runs/embedded-data --out runs/media --split train",),
    "data pack": ("data pack recipes/tiny.yaml --out runs/pack",),
    "train": (
        "train recipes/tiny.yaml",
        "train recipes/tiny.yaml --dry-run",
        "train recipes/tiny.yaml --set output=runs/mine --resume",
        "train recipes/tiny.yaml --resume --validate",
    ),
    "plot": ("plot runs/tiny", "plot runs/tiny --out runs/curves.svg"),
    "export": ("export runs/tiny runs/tiny-model", "export runs/embedded runs/embedded-adapter --adapter-only"),
    "setup": ("setup", "setup --check"),
    "eval": ("eval save --data tests/fixtures/save-mini --tasks gqa --model tiny --out runs/save",),
    "eval save": (
        "eval save --data tests/fixtures/save-mini --tasks gqa,how2 --model embedded --out runs/save --baselines all",
        "eval save check --data tests/fixtures/save-mini",
    ),
    "eval save check": ("eval save check --data tests/fixtures/save-mini",),
    "eval save build-mini": ("eval save build-mini --source DATA --out runs/save-mini",),
    "eval save export-lmms": ("eval save export-lmms --data tests/fixtures/save-mini --out runs/lmms-tasks",),
    "eval score": ("eval score --task gqa --predictions runs/save/predictions/gqa.jsonl",),
    "eval report": ("eval report runs/save",),
    "eval setup-spice": ("eval setup-spice", "eval setup-spice --from stanford-corenlp"),
    "eval held-out": (f"eval held-out {_STORE} --out runs/held-out",),
    "info": ("info released-13b", "info embedded --clip 60"),
    "inspect": (
        f"inspect {_CLIP} --out runs/clip.html",
        f'inspect {_CLIP} --out runs/clip.html --question "What words are spoken?"',
    ),
    "live": (
        f"live {_CLIP}",
        'live examples/helicopter.flac --question "What do you hear?" --speed 4 --json',
        'live camera --microphone default --question "Is anybody speaking?"',
    ),
    "plan": ("plan --model released-13b --clip 60s", "plan --model embedded --clip 2m --dtype fp32"),
    "probe": (f"probe {_CLIP}", f"probe {_CLIP} --full"),
    "transcribe": (
        f"transcribe {_CLIP}",
        f"transcribe {_CLIP} --decoder whisper --out runs/clip.srt",
        f"transcribe {_CLIP} --start 1 --end 2.5 --format json",
    ),
    "serve": (
        "serve --model embedded",
        "serve --model tiny --port 0 --json",
        "serve --model embedded --replicas 1:4",
    ),
    "web": ("web", "web --model tiny --port 0"),
    "verify": ("verify tests/fixtures/golden", "verify tests/fixtures/golden --tolerance 1e-5 --json"),
}
"""Full name of a command (empty for the whole) -> arguments of its examples."""


def epilog(name: str) -> str | None:
    r"""The examples of a command as click prints them: ``\b`` keeps it from joining the lines."""
    calls = EXAMPLES.get(name)
    if not calls:
        return None
    return "\n".join(
        ["\b", "Examples:" if len(calls) > 1 else "Example:", *(f"  video-salmonn {call}" for call in calls)]
    )


def add_examples(command: Any, name: str) -> None:
    """Give a command, and every command below it, its examples."""
    command.epilog = epilog(name)
    for inner, below in getattr(command, "commands", {}).items():
        add_examples(below, f"{name} {inner}")
