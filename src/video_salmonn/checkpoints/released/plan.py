"""Where every tensor of the official files goes: sections of the model, strict, planned from headers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from video_salmonn.checkpoints.released import names
from video_salmonn.checkpoints.released.files import Refs, ReleasedTensors, refuse_other_models, released_config
from video_salmonn.checkpoints.released.placing import (
    Alias,
    Dropped,
    Section,
    TargetTensor,
    is_buffer,
    merged,
    prefixed,
    take_aliases,
    take_out,
)
from video_salmonn.checkpoints.released.sources import TensorFile
from video_salmonn.connector import MultiResolutionCausalQFormer
from video_salmonn.errors import CheckpointError
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.resources.cost import build_on_meta

ROLES = ("low", "base", "high")
EVA_DEAD = ("norm.", "fc_norm.", "head.", "mask_token", "lm_head.")
BUFFER = "a buffer without learned numbers"


@dataclass(frozen=True)
class ConversionPlan:
    """What a conversion would write.

    Attributes:
        config: of the model.
        targets: every tensor of the model, in the order of the files they come from.
        aliases: second names whose numbers have to equal the first.
        dropped: tensors that are not needed.
        files: all weight files.
    """

    config: VideoSalmonnConfig
    targets: list[TargetTensor]
    aliases: list[Alias]
    dropped: list[Dropped]
    files: list[TensorFile]

    @property
    def vocabulary(self) -> int:
        """Rows of the language model's embeddings."""
        text: Any = self.config.text_config
        return int(text.vocab_size)


def plan_conversion(found: ReleasedTensors, settings: Mapping[str, Any] | None = None) -> ConversionPlan:
    """Give every tensor a place.

    Args:
        found: the headers.
        settings: see :func:`released_config`.

    Raises:
        CheckpointError: a tensor has no place, is missing, has another shape or no floating-point numbers.
        ConfigError: settings that do not fit together.
    """
    trained = "delta" in found.where
    if trained:
        refuse_other_models(found.delta, found.where["delta"])
    found = _copied(found)
    dropped: list[Dropped] = []
    for refs in (found.delta, found.eva, found.instructblip, found.instructblip_hf, found.whisper, found.llm):
        dropped += take_out(refs, lambda name: BUFFER if is_buffer(name) else None)
    aliases = take_aliases(found.delta, names.DELTA_ALIASES)
    aliases += take_aliases(found.beats, _beats_aliases(found.beats))
    config = released_config(found, settings)
    model = build_on_meta(config)
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items() if not is_buffer(name)}
    if getattr(config.text_config, "tie_word_embeddings", False):
        wanted.pop("language_model.lm_head.weight", None)
    sections = _delta_sections(found, config) if trained else []
    if found.instructblip_hf:
        sections += _folder_visual(found, dropped)
    else:
        aliases += _visual_duplicates(found)
        sections.append(_official_visual(found, config, dropped))
    sections += [_beats(found), _whisper(found, dropped), _language_model(found, config, dropped)]
    for section in sections:
        section.plan({name: shape for name, shape in wanted.items() if section.gives(name)})
    targets = [] if trained else new_parts(config, wanted)
    targets += [target for section in sections for target in section.targets]
    dropped += [drop for section in sections for drop in section.dropped]
    rest = set(wanted) - {target.name for target in targets}
    if rest:
        raise CheckpointError(f"no file gives {sorted(rest)[:3]}", remedy="this is a defect of the converter")
    return ConversionPlan(config, targets, aliases, dropped, found.files)


def new_parts(config: VideoSalmonnConfig, wanted: Mapping[str, tuple[int, ...]]) -> list[TargetTensor]:
    """A connector and an adapter as training starts from them, the same ones every time.

    BERT's start for the connector; for LoRA A random and B zero, so that the adapter changes nothing yet.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {
            f"connector.{name}": tensor
            for name, tensor in MultiResolutionCausalQFormer(config.connector_config).state_dict().items()
        }
        for name, shape in wanted.items():
            if ".lora_" in name:
                state[name] = torch.zeros(shape)
                if ".lora_A." in name:
                    torch.nn.init.kaiming_uniform_(state[name], a=math.sqrt(5))
    return [TargetTensor(name, tuple(tensor.shape), {}, _made(name, tensor)) for name, tensor in state.items()]


def _made(name: str, tensor: torch.Tensor) -> Callable[[Mapping[str, torch.Tensor]], names.PlacedTensors]:
    def place(inputs: Mapping[str, torch.Tensor]) -> names.PlacedTensors:
        placed = names.PlacedTensors()
        placed.put(name, tensor, name)
        return placed

    return place


def _copied(found: ReleasedTensors) -> ReleasedTensors:
    """A copy whose dictionaries may be emptied."""
    return replace(
        found,
        delta=dict(found.delta),
        beats=dict(found.beats),
        whisper=dict(found.whisper),
        llm=dict(found.llm),
        instructblip=dict(found.instructblip),
        eva=dict(found.eva),
        instructblip_hf=dict(found.instructblip_hf),
    )


def _beats_aliases(beats: Refs) -> dict[str, str]:
    """The position bias is one module, stored under every layer's name."""
    ending = ".self_attn.relative_attention_bias.weight"
    first = f"encoder.layers.0{ending}"
    return {name: first for name in beats if name.endswith(ending) and name != first}


# ------------------------------------------------------------------------------------------------------- sections


def _delta_sections(found: ReleasedTensors, config: VideoSalmonnConfig) -> list[Section]:
    """Connector and adapter."""
    connector, where = config.connector_config, found.where["delta"]
    roles = ROLES[: len(connector.levels)]
    table = names.connector_table(
        roles,
        connector.num_hidden_layers,
        share_qformer=connector.share_qformer,
        block_attention=connector.mask_direction != "none",
    )
    backwards = {ours: theirs for theirs, ours in table.items()}
    lora = {name: ref for name, ref in found.delta.items() if name.startswith("llama_model.")}
    rest = {name: ref for name, ref in found.delta.items() if name not in lora}
    dead = tuple(f"{names.QFORMERS[role]}." for role in ("low", "high"))
    for name in rest:
        twin = f"video_Qformer.{name.partition('.')[2]}"
        if connector.share_qformer and name.startswith(dead) and twin not in table:
            raise CheckpointError(f"{rest[name]} has no place: a Q-Former has no such tensor", remedy="it was renamed")
    return [
        Section(
            ("connector.",),
            where,
            rest,
            lambda tensors: prefixed(names.place_connector(tensors, connector, roles), "connector."),
            lambda name: backwards.get(name.removeprefix("connector."), name),
        ),
        Section(
            ("language_model.",),
            where,
            lora,
            lambda tensors: prefixed(names.place_adapter(tensors), "language_model."),
            lambda name: names.LORA_PREFIX + name.removeprefix("language_model."),
            adapter=True,
        ),
    ]


def _visual_duplicates(found: ReleasedTensors) -> list[Alias]:
    """A vision encoder in the InstructBLIP file has to be EVA's."""
    firsts = {f"visual_encoder.{name}": ref for name, ref in found.eva.items()}
    table = {"visual_encoder.": "visual_encoder."}
    return take_aliases(found.instructblip, table, firsts)


def _official_visual(found: ReleasedTensors, config: VideoSalmonnConfig, dropped: list[Dropped]) -> Section:
    """EVA and InstructBLIP from the two official files."""
    depth = config.vision_config.num_hidden_layers

    def unwanted_eva(name: str) -> str | None:
        if name.startswith(EVA_DEAD):
            return "EVA's own head, after the last block that is used"
        parts = name.split(".")
        late = parts[0] == "blocks" and parts[1].isdigit() and int(parts[1]) >= depth
        return f"a block after the {depth} that are used" if late else None

    def unwanted_instructblip(name: str) -> str | None:
        if name.startswith("Qformer.cls."):
            return "InstructBLIP's word head is not used"
        return "InstructBLIP's own projection is not used" if name.startswith("llm_proj.") else None

    dropped += take_out(found.eva, unwanted_eva) + take_out(found.instructblip, unwanted_instructblip)
    refs = {f"visual_encoder.{name}": ref for name, ref in found.eva.items()} | found.instructblip
    backwards = {
        f"vision.model.{ours}": theirs.removeprefix("visual_encoder.") for theirs, ours in names.VISION.items()
    }
    backwards |= {f"instruction_qformer.qformer.{v}": k for k, v in names.INSTRUCT_EMBEDDINGS.items()}
    backwards["instruction_qformer.query_tokens"] = "query_tokens"
    blocks = {ours: theirs for theirs, ours in names.VISION_BLOCK.items()}
    blocks["self_attn.qkv.bias"] = "attn.q_bias"
    layers = {ours: theirs for theirs, ours in names.INSTRUCT_LAYER.items()}

    def official(name: str) -> str:
        name = name.removeprefix("tower.")
        parts = name.split(".")
        if name.startswith("vision.model.encoder.layers."):
            return f"blocks.{parts[4]}.{blocks.get('.'.join(parts[5:]), '.'.join(parts[5:]))}"
        if name.startswith("instruction_qformer.qformer.encoder.layer."):
            return f"Qformer.bert.encoder.layer.{parts[4]}.{layers.get('.'.join(parts[5:-1]), '?')}.{parts[-1]}"
        return backwards.get(name, name)

    def place(tensors: Mapping[str, torch.Tensor]) -> names.PlacedTensors:
        vision, qformer = names.place_visual_tower(tensors)
        both = (prefixed(vision, "tower.vision.model."), prefixed(qformer, "tower.instruction_qformer."))
        return merged(*both)

    where = f"{found.where['eva']} and {found.where['instructblip']}"
    return Section(("tower.vision.", "tower.instruction_qformer."), where, refs, place, official)


def _renamed(part: str, where: str, refs: Refs, ours: str, theirs: str, *, adapted: tuple[str, ...] = ()) -> Section:
    """A section whose official names are ours but for a prefix (and the base layers of an adapter's targets)."""

    def name_of(name: str) -> str:
        name = ours + name.removeprefix(theirs)
        if name.endswith(adapted) and adapted:
            return f"{name.removesuffix('.weight')}.base_layer.weight"
        return name

    def place(tensors: Mapping[str, torch.Tensor]) -> names.PlacedTensors:
        placed = names.PlacedTensors()
        for name, tensor in tensors.items():
            placed.put(name_of(name), tensor, name)
        return placed

    def official(name: str) -> str:
        return theirs + name.removeprefix(ours).replace(".base_layer.", ".")

    return Section((part,), where, refs, place, official)


def _folder_visual(found: ReleasedTensors, dropped: list[Dropped]) -> list[Section]:
    """EVA and InstructBLIP's Q-Former from InstructBLIP's Hugging Face folder, whose names are ours."""
    refs, where = found.instructblip_hf, found.where["instructblip_hf"]

    def unwanted(name: str) -> str | None:
        if name.startswith("language_model."):
            return "InstructBLIP's own language model is not used"
        return "InstructBLIP's own projection is not used" if name.startswith("language_projection.") else None

    dropped += take_out(refs, unwanted)
    vision = {name: ref for name, ref in refs.items() if name.startswith("vision_model.")}
    rest = {name: ref for name, ref in refs.items() if name not in vision}
    return [
        _renamed("tower.vision.", where, vision, "tower.vision.model.", "vision_model."),
        _renamed("tower.instruction_qformer.", where, rest, "tower.instruction_qformer.", ""),
    ]


def _beats(found: ReleasedTensors) -> Section:
    backwards = {
        "encoder.pos_conv.weight": "encoder.pos_conv.0.weight_v",
        "encoder.pos_conv.bias": "encoder.pos_conv.0.bias",
        "encoder.relative_attention_bias.weight": "encoder.layers.0.self_attn.relative_attention_bias.weight",
    }

    def official(name: str) -> str:
        name = name.removeprefix("tower.audio.")
        return backwards.get(name, name)

    return Section(
        ("tower.audio.",),
        found.where["beats"],
        found.beats,
        lambda tensors: prefixed(names.place_beats(tensors), "tower.audio."),
        official,
    )


def _whisper(found: ReleasedTensors, dropped: list[Dropped]) -> Section:
    """The encoder; a folder saved from the bare model has no ``model.`` before its names."""
    stem = "model." if any(name.startswith("model.") for name in found.whisper) else ""

    def unwanted(name: str) -> str | None:
        decoder = name.startswith((f"{stem}decoder.", "proj_out."))
        return "Whisper's decoder is not used" if decoder else None

    dropped += take_out(found.whisper, unwanted)
    where = found.where["whisper"]
    return _renamed("tower.speech.", where, found.whisper, "tower.speech.model.", f"{stem}encoder.")


def _language_model(found: ReleasedTensors, config: VideoSalmonnConfig, dropped: list[Dropped]) -> Section:
    targets = tuple(f".{target}.weight" for target in (config.lora.targets if config.lora else ()))
    if getattr(config.text_config, "tie_word_embeddings", False):
        dropped += take_out(found.llm, lambda name: "tied to the embeddings" if name == "lm_head.weight" else None)
    return _renamed("language_model.", found.where["llm"], found.llm, "language_model.", "", adapted=targets)
