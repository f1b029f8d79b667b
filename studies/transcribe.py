"""Both decoders of `transcribe` on held-out speakers: word error rates, speed, and how exact the times of words are.

    python studies/transcribe.py --data DATA --out runs/transcribe            # DATA has speech/librispeech.jsonl

Utterances are spread evenly over the test speakers of LibriSpeech dev-clean. The times of words are compared with a
forced alignment: the cross-attention of Whisper's own decoder over the *known* text (transformers' token time stamps),
for words that the decoder got right. The first word of an utterance is left out: that alignment has it begin at 0. For
`--decoder whisper` the reference is the same network after another text, so its agreement says how stable those times
are; for `--decoder model` the two have only the encoder in common. `--split talking` takes sentences of GRID, `--split
sounds` recordings in which nobody speaks.

Answers are kept in OUT and not computed again. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from video_salmonn import VideoSalmonn
from video_salmonn.embedded.data.sources import TEST_FOLD, bucket
from video_salmonn.errors import ManifestError
from video_salmonn.files import numbered_lines
from video_salmonn.inference import transcribe as module
from video_salmonn.inference.speech_decoder import SpeechDecoder
from video_salmonn.inference.transcript import Word
from video_salmonn.media import MediaOptions, load_clip
from video_salmonn.metrics.text import normalise_speech
from video_salmonn.metrics.wer import wer

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from common import finish

SPEAKERS = {"test": ("777", "1919", "2086"), "dev": ("84",)}
OTHER = {"talking": "clips/grid_s1.jsonl", "sounds": "sounds/esc10.jsonl"}
"""GRID sentences that no training used, and ESC-10's held-out fold, in which nobody speaks."""
RATE = 16_000


def utterances(data: Path, split: str, count: int) -> list[dict[str, Any]]:
    """Rows of a split, evenly spread, with the file's whole path; those of sounds have no text."""
    file = data / OTHER.get(split, "speech/librispeech.jsonl")
    rows = [json.loads(line) for _, line in numbered_lines(file, ManifestError)]
    if split == "talking":
        rows = [row for row in rows if bucket(row["id"], 18) < 3]
    elif split == "sounds":
        rows = [row for row in rows if row["fold"] == TEST_FOLD]
    else:
        rows = [row for row in rows if row["speaker"] in SPEAKERS[split]]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [{"text": ""} | rows[place] | {"path": file.parent / rows[place]["media"]} for place in places]


def samples_of(path: Path) -> torch.Tensor:
    """Sound ``(n,)`` of a file at 16 kHz."""
    clip = load_clip(str(path), options=MediaOptions(use_video=False))
    return torch.from_numpy(clip.sound.samples)


@torch.inference_mode()
def forced_times(listener: SpeechDecoder, samples: torch.Tensor, text: str) -> list[Word]:
    """Words of a known text with the times that Whisper's cross-attention gives them."""
    model, tokenizer = listener.model, listener.tokenizer
    settings = model.generation_config
    words = text.split()
    pieces = [tokenizer(" " + word, add_special_tokens=False).input_ids for word in words]
    head = [settings.decoder_start_token_id, settings.lang_to_id["<|en|>"], settings.task_to_id["transcribe"]]
    head.append(settings.no_timestamps_token_id)
    ids = torch.tensor([[*head, *(token for piece in pieces for token in piece), model.config.eos_token_id]])
    output = model(input_features=listener._features(samples), decoder_input_ids=ids, output_attentions=True)
    # one step of "generation" that made all tokens at once, in the form transformers' own extraction takes
    made = type("Made", (dict,), {"cross_attentions": (output.cross_attentions,), "sequences": ids})()
    times = model._extract_token_timestamps(
        made, settings.alignment_heads, num_frames=len(samples) // 160, num_input_ids=len(head)
    )[0]
    starts = times[len(head) :].tolist()
    found, place = [], 0
    for word, piece in zip(words, pieces):
        found.append(Word(starts[place], starts[place + len(piece)], word))
        place += len(piece)
    return found


def matched(reference: list[Word], heard: list[Word]) -> list[tuple[Word, Word]]:
    """Pairs of the same word in both, by the alignment with the fewest edits."""
    import jiwer

    def plain(words: list[Word]) -> tuple[list[str], list[int]]:
        texts, places = [], []
        for place, word in enumerate(words):
            for part in normalise_speech(word.text).split():
                texts.append(part)
                places.append(place)
        return texts, places

    (ours, own), (theirs, other) = plain(reference), plain(heard)
    if not ours or not theirs:
        return []
    done = jiwer.process_words(" ".join(ours), " ".join(theirs))
    pairs = []
    for chunk in done.alignments[0]:
        if chunk.type == "equal":
            for step in range(chunk.ref_end_idx - chunk.ref_start_idx):
                pairs.append((reference[own[chunk.ref_start_idx + step]], heard[other[chunk.hyp_start_idx + step]]))
    return pairs


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Answers of a run before, by key."""
    if not path.is_file():
        return {}
    return {row["key"]: row for row in (json.loads(line) for line in path.read_text().splitlines())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with speech/librispeech.jsonl")
    parser.add_argument("--out", type=Path, default=Path("runs/transcribe"))
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--split", choices=sorted((*SPEAKERS, *OTHER)), default="test")
    parser.add_argument("--count", type=int, default=100, help="utterances")
    parser.add_argument("--question", help="what the language model is asked; by default as the command does")
    parser.add_argument("--words", type=int, default=100, help="words whose times are compared")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    answers = args.out / f"{args.split}.jsonl"
    known = kept(answers)
    if args.question:
        module.QUESTION = args.question
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    engine = VideoSalmonn.load(args.model)
    listener: SpeechDecoder | None = None
    rows = utterances(args.data, args.split, args.count)
    for row in rows:
        samples = None
        for decoder in ("model", "whisper", *(("forced",) if args.split in SPEAKERS else ())):
            key = f"{row['id']} {decoder}"
            if key in known:
                continue
            samples = samples_of(row["path"]) if samples is None else samples
            sound = (samples.numpy(), RATE)
            begun = time.process_time()
            if decoder == "forced":
                if listener is None:
                    listener = module._listener(engine, None)
                words, text = forced_times(listener, samples, row["text"]), row["text"]
            else:
                made = engine.transcribe(sound, decoder=decoder, language="en" if decoder == "whisper" else None)
                words, text = made.words, made.text
            entry = {
                "key": key,
                "text": text,
                "words": [[word.text, word.start, word.end] for word in words],
                "cpu_seconds": time.process_time() - begun,
                "sound_seconds": len(samples) / RATE,
            }
            known[key] = entry
            with answers.open("a") as stream:
                stream.write(json.dumps(entry) + "\n")
            print(key, flush=True, file=sys.stderr)
    results: dict[str, Any] = {"split": args.split, "utterances": len(rows)}
    seconds = sum(known[f"{row['id']} model"]["sound_seconds"] for row in rows)
    results["seconds_of_sound"] = round(seconds, 1)
    print(f"{len(rows)} utterances, {seconds:.0f} s of sound")
    for decoder in ("model", "whisper"):
        found = [known[f"{row['id']} {decoder}"] for row in rows]
        cpu = sum(one["cpu_seconds"] for one in found) / seconds
        results[decoder] = {"cpu_seconds_per_second": round(cpu, 3)}
        if args.split == "sounds":
            results[decoder] |= {
                "files_with_text": sum(bool(one["text"]) for one in found),
                "words": sum(len(one["text"].split()) for one in found),
            }
            print(f"{decoder}: {results[decoder]}")
            continue
        scored = wer([row["text"] for row in rows], [one["text"] for one in found])
        results[decoder] |= {"wer": [round(value, 4) for value in (scored.value, scored.low, scored.high)]}
        if args.split not in SPEAKERS:
            print(f"{decoder}: {results[decoder]}")
            continue
        pairs = []
        for row, one in zip(rows, found):
            reference = [Word(start, end, text) for text, start, end in known[f"{row['id']} forced"]["words"]]
            said = [Word(start, end, text) for text, start, end in one["words"]]
            pairs += [(here, there) for here, there in matched(reference, said) if here is not reference[0]]
        places = np.linspace(0, len(pairs) - 1, min(args.words, len(pairs))).round().astype(int)
        chosen = [pairs[place] for place in places]
        starts = [there.start - here.start for here, there in chosen]
        ends = [there.end - here.end for here, there in chosen]
        low, high = _median_interval([abs(value) for value in starts])
        results[decoder] |= {
            "words": len(chosen),
            "median_start_error": [round(value, 3) for value in (median(map(abs, starts)), low, high)],
            "median_start_shift": round(median(starts), 3),
            "start_within_0.2": round(float(np.mean([abs(value) <= 0.2 for value in starts])), 3),
            "median_end_error": round(median(map(abs, ends)), 3),
            "median_end_shift": round(median(ends), 3),
        }
        print(f"{decoder}: {results[decoder]}")
    finish("transcribe", results, threads=1, seed=0)


def _median_interval(values: list[float]) -> tuple[float, float]:
    """95 % percentile bootstrap of a median."""
    draws = np.random.default_rng(0).choice(values, (1000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
