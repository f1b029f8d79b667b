"""What the media cost the language model: prefill, first token and decoding against the language model alone.

Both sides get the same number of prompt tokens and make the same number of new ones; the media are encoded already, so
what is compared is everything after the encoders (connector and placing tokens are ours alone, and named). Then the
first and the second question on one file, side by side.

Stages are in processor seconds, taken in turns: other work on the machine would otherwise fall on one side or
the other. Questions are in seconds on the clock, as a user waits for them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from common import finish, median_ratio
from video_salmonn import VideoSalmonn
from video_salmonn.errors import MissingPartError

SEED = 11
QUESTION = "Describe what can be seen and what can be heard."
CLIP = Path(__file__).parents[1] / "tests" / "fixtures" / "media" / "nasa_13013.mp4"


def in_turns(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each run, taken in turns, those of two warm-up turns left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if turn >= 2:
                seconds[name].append(time.process_time() - started)
    return seconds


def overhead(engine: VideoSalmonn, new: int, repeats: int) -> dict[str, Any]:
    """Seconds of ours and of the bare language model, in turns."""
    model, language = engine.model, engine.model.language_model
    with torch.inference_mode():
        row = engine.prepare(CLIP, QUESTION, max_new_tokens=new)
        ids = torch.tensor([row.input_ids])
        mask = torch.ones_like(ids)
        words = torch.randint(4, language.config.vocab_size, ids.shape)
    fixed = {"do_sample": False, "num_beams": 1, "pad_token_id": 0, "eos_token_id": None}

    def ours(count: int) -> None:
        model.generate(ids, mask, media_embeds=row.media_embeds, min_new_tokens=count, max_new_tokens=count, **fixed)

    def alone(count: int) -> None:
        with torch.no_grad():
            language.generate(input_ids=words, attention_mask=mask, min_new_tokens=count, max_new_tokens=count, **fixed)

    @torch.inference_mode()
    def prefill_ours() -> None:
        model(ids, mask, media_embeds=row.media_embeds, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def prefill_alone() -> None:
        language(input_ids=words, attention_mask=mask, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def connect() -> None:
        engine.prepare(CLIP, QUESTION, max_new_tokens=new)

    short = in_turns(
        {
            "prefill ours": prefill_ours,
            "prefill alone": prefill_alone,
            "first token ours": lambda: ours(1),
            "first token alone": lambda: alone(1),
            "connect": connect,
        },
        4 * repeats,
    )
    seconds = short | in_turns(
        {"generate ours": lambda: ours(new), "generate alone": lambda: alone(new)},
        repeats,
    )
    results: dict[str, Any] = {"prompt_tokens": ids.shape[1], "media_tokens": row.media_tokens, "new_tokens": new}
    for stage in ("prefill", "first token", "generate"):
        results[stage] = {
            "ours_s": round(median(seconds[f"{stage} ours"]), 5),
            "alone_s": round(median(seconds[f"{stage} alone"]), 5),
            "ratio": round(median_ratio(seconds, f"{stage} ours", f"{stage} alone"), 4),
        }
    per_token = {
        side: [(g - median(seconds[f"first token {side}"])) / (new - 1) for g in seconds[f"generate {side}"]]
        for side in ("ours", "alone")
    }
    results["decode per token"] = {
        "ours_s": round(median(per_token["ours"]), 6),
        "alone_s": round(median(per_token["alone"]), 6),
        "ratio": round(median_ratio(per_token, "ours", "alone"), 4),
    }
    results["connect_s"] = round(median(seconds["connect"]), 5)
    return results


def questions(engine: VideoSalmonn, repeats: int) -> dict[str, float]:
    """Seconds of the first and of the second question on one file; the first one decodes and encodes it."""
    first, second = [], []
    for _ in range(repeats):
        fresh = VideoSalmonn(engine.model, engine.processor)
        for seconds in (first, second):
            started = time.perf_counter()
            fresh.ask(CLIP, QUESTION, max_new_tokens=1, num_beams=1)
            seconds.append(time.perf_counter() - started)
        assert fresh.media.encoded == 1
    return {
        "first_s": round(median(first), 4),
        "second_s": round(median(second), 4),
        "times_faster": round(median(a / b for a, b in zip(first, second)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="tiny,embedded")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    results: dict[str, Any] = {}
    for name in options.models.split(","):
        try:
            engine = VideoSalmonn.load(name)
        except MissingPartError as error:
            print(f"{name}: not measured ({error})")
            results[name] = {"not_measured": str(error)}
            continue
        found = overhead(engine, options.new_tokens, options.repeats)
        found["questions"] = questions(engine, max(3, options.repeats // 2))
        results[name] = found
        print(f"\n{name}: {found['prompt_tokens']} prompt tokens, {found['media_tokens']} of them media")
        print(f"{'stage':<18}{'ours':>12}{'LLM alone':>12}{'ratio':>9}")
        for stage in ("prefill", "first token", "decode per token", "generate"):
            row = found[stage]
            print(f"{stage:<18}{row['ours_s'] * 1e3:>9.2f} ms{row['alone_s'] * 1e3:>9.2f} ms{row['ratio']:>9.3f}")
        print(f"{'connector, prompt':<18}{found['connect_s'] * 1e3:>9.2f} ms")
        asked = found["questions"]
        print(f"{'first question':<18}{asked['first_s']:>10.3f} s   to its first token")
        print(f"{'second question':<18}{asked['second_s']:>10.3f} s   {asked['times_faster']} times faster")
    finish("generate", results, threads=options.threads, seed=SEED)


if __name__ == "__main__":
    main()
