"""A preset with random weights made on the device: stage times, memory against the plan, decoding against bandwidth.

No checkpoint is needed: speed and memory don't depend on what the numbers are. The limit of decoding one sequence is
the measured bandwidth over the bytes of weights that each token reads. Layers are packed (int8, int4), encoders rest
elsewhere, and the cache is as in `ask`; `--compile` adds torch.compile to the language model's steps.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import QuantizedCache, StaticCache

from common import finish
from video_salmonn.encoders.beats import BeatsConfig
from video_salmonn.features.fbank import num_frames
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.model.lengths import sight_frames, sound_frames
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import preset
from video_salmonn.resources.cost import TEXT_TOKENS
from video_salmonn.resources.memory import DTYPES, KV_BYTES, QUANTISED, memory_plan
from video_salmonn.resources.placement import ENCODERS, KV_CACHES, Placement, place
from video_salmonn.resources.quantise import choose
from video_salmonn.resources.stages import RATE


class Meter:
    """Seconds and peak memory on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = self.peak()

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self) -> int:
        """Most bytes held so far: of tensors on a card, of the process on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def seconds(self, run: Callable[[], Any]) -> tuple[float, Any]:
        """(seconds, result) of a call."""
        self.wait()
        started = time.perf_counter()
        made = run()
        self.wait()
        return time.perf_counter() - started, made


def bandwidth(meter: Meter, megabytes: int) -> float:
    """Bytes a second of a copy: read and written."""
    source = torch.ones(megabytes << 18, device=meter.device)
    target = torch.empty_like(source)
    best = min(meter.seconds(lambda: target.copy_(source))[0] for _ in range(8))
    return 2 * source.nbytes / best


def media(config: Any, seconds: float, device: torch.device, dtype: torch.dtype) -> MediaInputs:
    """One clip of noise with picture and sound."""
    frames = sight_frames(config, seconds)
    heard = sound_frames(config, seconds)
    segment = round(config.media_config.segment_seconds * RATE)
    samples = round(heard * config.connector_config.frame_seconds * RATE)
    segments = max(1, -(-samples // segment))
    side = config.media_config.image_size

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    beats = isinstance(config.audio_config, BeatsConfig)
    sound = noise(segments, num_frames(segment), 128) if beats else noise(segments, segment // 8000, 96, 64)
    return MediaInputs(
        pixel_values=noise(frames, 3, side, side),
        frame_counts=torch.tensor([frames]),
        log_mel=noise(segments, config.media_config.mel_bins, segment // 160),
        audio_inputs=sound,
        segment_counts=torch.tensor([segments]),
        segment_samples=torch.full((segments,), segment),
        sound_frames=torch.tensor([heard]),
        still_frames=torch.tensor([0]),
    )


def new_cache(kind: str, config: Any, length: int) -> Any:
    """A cache of the kind, for at most ``length`` tokens; None for the library's own."""
    if kind == "static":
        return StaticCache(config=config, max_cache_len=length)
    return QuantizedCache(config=config, **KV_CACHES[kind]["cache_config"]) if kind == "fp8" else None


def decode(language: Any, step: Any, prompt: torch.Tensor, new_tokens: int, kind: str, meter: Meter) -> tuple:
    """(seconds of the prefill, seconds of the new tokens), greedily and without stopping."""
    cache = new_cache(kind, language.config, prompt.shape[1] + new_tokens)
    prefill, out = meter.seconds(
        lambda: language(inputs_embeds=prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
    )
    cache = out.past_key_values
    token = out.logits[:, -1:].argmax(-1)

    def go() -> None:
        nonlocal token
        for n in range(new_tokens):
            place = torch.full((1, 1), prompt.shape[1] + n, device=prompt.device)
            out = step(input_ids=token, position_ids=place, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1:].argmax(-1).clone()  # a compiled step's own memory is used again

    return prefill, meter.seconds(go)[0]


def timed(module: Any, name: str, seconds: dict[str, float], meter: Meter) -> None:
    """Add up the seconds of a module's calls."""
    forward = module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        took, made = meter.seconds(lambda: forward(*args, **kwargs))
        seconds[name] = seconds.get(name, 0.0) + took
        return made

    module.forward = run


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    gpu = torch.cuda.is_available()
    parser.add_argument("--preset", default="released-13b" if gpu else "tiny", help="tiny where there is no GPU")
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument(
        "--dtype", default="bf16", choices=sorted([*DTYPES, *QUANTISED]), help="int8, int4: the layers, the rest bf16"
    )
    parser.add_argument("--quantiser", choices=("bitsandbytes", "torchao"), help="the first installed by default")
    parser.add_argument("--kv-cache", default="dynamic", choices=sorted(KV_BYTES))
    parser.add_argument("--offload-encoders", action="store_true", help="they rest in main memory, or on the disk")
    parser.add_argument("--compile", action="store_true", help="torch.compile for decoding; wants --kv-cache static")
    parser.add_argument("--clip", type=float, default=60.0, help="seconds")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--layers", type=int, help="of the language model: 1 leaves the encoders and the connector")
    parser.add_argument("--no-warm-up", action="store_true", help="where one pass takes minutes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device, config = torch.device(options.device), preset(options.preset)
    dtype = DTYPES.get(options.dtype, torch.bfloat16)
    packed = options.dtype if options.dtype in QUANTISED else None
    asked = Placement(device, packed, options.quantiser, None, options.offload_encoders, options.kv_cache)
    if options.layers:
        config.text_config.num_hidden_layers = options.layers
    meter = Meter(device)
    torch.set_default_dtype(dtype)
    with device:
        model = VideoSalmonnForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    resting = tempfile.TemporaryDirectory()
    place(model, asked, Path(resting.name))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # packing took more for a moment
    inputs = media(config, options.clip, device, dtype)
    if not options.no_warm_up:
        model.encode_media(inputs)  # libraries choose their kernels
    seconds: dict[str, float] = {}
    for name in ENCODERS:
        if (encoder := getattr(model.tower, name)) is not None:
            timed(encoder, name, seconds, meter)
    seconds["encode"], features = meter.seconds(lambda: model.encode_media(inputs))
    words = torch.randint(5, 100, (1, TEXT_TOKENS), device=device)
    instruction = (words, torch.ones_like(words)) if config.depends_on_question else None
    if not options.no_warm_up:
        model.connect_media(features, instruction)
        seconds.pop("instruction_qformer", None)
    seconds["connect"], connected = meter.seconds(lambda: model.connect_media(features, instruction))
    tokens = torch.cat(connected.tokens)
    prompt = torch.cat([tokens, model.get_input_embeddings()(words)[0]])[None]
    rows = {}
    # each token reads every weight of the language model but the embedding table, of which it reads one row
    plan = memory_plan(
        config,
        options.clip,
        options.dtype,
        offload_encoders=options.offload_encoders,
        kv_cache=options.kv_cache,
        beams=int(options.batches.split(",")[0]),
        new_tokens=options.new_tokens,
    )
    table = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is table
    read = plan["weights"]["language_model"] + plan["weights"]["lora"] - (0 if tied else table.nbytes)
    language = model.language_model
    step = (
        torch.compile(language, mode="reduce-overhead" if device.type == "cuda" else None)
        if options.compile
        else language
    )
    peak_one = 0
    for batch in (int(n) for n in options.batches.split(",")):
        rows_of = prompt.expand(batch, -1, -1)
        for new_tokens in (options.new_tokens if options.compile else 2, options.new_tokens):  # the first one warms up
            prefill, new = decode(language, step, rows_of, new_tokens, options.kv_cache, meter)
        rows[batch] = {"prefill": prefill, "tokens_per_second": batch * options.new_tokens / new}
        peak_one = peak_one or meter.peak() - meter.before
    speed = bandwidth(meter, 1024 if device.type == "cuda" else 128)
    limit = speed / read
    for batch, row in rows.items():
        share = row["tokens_per_second"] / batch / limit
        row["share_of_limit"] = share
        print(f"batch {batch}: prefill {row['prefill']:.3f} s, {row['tokens_per_second']:.2f} tokens/s, {share:.0%}")
    print(f"a clip of {options.clip:g} s: " + ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items()))
    print(f"bandwidth {speed / 1e9:.0f} GB/s, {read / 1e9:.2f} GB a token: at most {limit:.2f} tokens/s a sequence")
    print(f"peak {peak_one / 1e9:.2f} GB measured at the first batch size, {plan['peak'] / 1e9:.2f} GB planned")
    results = {
        "preset": options.preset,
        "language_model_layers": config.text_config.num_hidden_layers,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": options.dtype,
        "quantiser": packed and choose(packed, options.quantiser),
        "kv_cache": options.kv_cache,
        "compiled": options.compile,
        "offload_encoders": options.offload_encoders,
        "clip_seconds": options.clip,
        "media_tokens": len(tokens),
        "seconds": seconds,
        "batches": rows,
        "bandwidth_bytes_per_second": speed,
        "weight_bytes_per_token": read,
        "limit_tokens_per_second": limit,
        "peak_bytes": peak_one,
        "planned_peak_bytes": plan["peak"],
    }
    finish("released", results, threads=options.threads, seed=options.seed)


if __name__ == "__main__":
    main()
