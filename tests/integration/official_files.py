"""Official files of the released layout at tiny sizes, their names and shapes written out from the released model's
key lists (and nowhere taken from the converter's tables). Weights are random; dead weights, second names and buffers
are there as in the real files."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from video_salmonn.checkpoints.released.files import ReleasedTensors
from video_salmonn.checkpoints.released.sources import Ref, TensorFile


@dataclass
class Sizes:
    """Of every network; small by default, the released ones in ``RELEASED``."""

    hidden: int = 24
    feed_forward: int = 40
    positions: int = 704
    llm: int = 32
    llm_layers: int = 2
    llm_feed_forward: int = 48
    vocabulary: int = 400
    rank: int = 4
    eva: int = 40
    eva_feed_forward: int = 80
    eva_blocks: int = 3
    grid: int = 4
    words: int = 60
    qformer_layers: int = 4
    qformer_feed_forward: int = 48
    qformer_positions: int = 32
    whisper: int = 20
    whisper_layers: int = 2
    whisper_feed_forward: int = 40
    whisper_positions: int = 1500
    whisper_vocabulary: int = 50
    beats: int = 12
    beats_layers: int = 2
    beats_feed_forward: int = 24
    beats_patch: int = 16
    beats_heads: int = 4
    beats_kernel: int = 16
    beats_groups: int = 4
    beats_buckets: int = 32
    settings: dict = field(default_factory=dict)


RELEASED = Sizes(
    hidden=768,
    feed_forward=3072,
    positions=4096,
    llm=5120,
    llm_layers=40,
    llm_feed_forward=13824,
    vocabulary=32000,
    rank=32,
    eva=1408,
    eva_feed_forward=6144,
    eva_blocks=39,
    grid=16,
    words=30523,
    qformer_layers=12,
    qformer_feed_forward=3072,
    qformer_positions=512,
    whisper=1280,
    whisper_layers=32,
    whisper_feed_forward=5120,
    whisper_vocabulary=51865,
    beats=768,
    beats_layers=12,
    beats_feed_forward=3072,
    beats_patch=512,
    beats_heads=12,
    beats_kernel=128,
    beats_groups=16,
    beats_buckets=320,
)


def linear(name, out, into):
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def joint_qformer(name, s):
    """74 tensors: the released video_Qformer (text parts are set to None there)."""
    wide, h = 3 * s.hidden, s.hidden
    shapes = norm(f"{name}.bert.embeddings.LayerNorm", h)
    for i in (0, 1):
        layer = f"{name}.bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.self.{part}", h, h)
            shapes |= linear(f"{layer}.crossattention.self.{part}", h, h if part == "query" else wide)
            shapes |= linear(f"{layer}.encoder_causal_attention.self.{part}", wide, wide)
        for block, width in (("attention", h), ("crossattention", h), ("encoder_causal_attention", wide)):
            shapes |= linear(f"{layer}.{block}.output.dense", width, width)
            shapes |= norm(f"{layer}.{block}.output.LayerNorm", width)
        shapes |= linear(f"{layer}.intermediate_query.dense", s.feed_forward, h)
        shapes |= linear(f"{layer}.output_query.dense", h, s.feed_forward)
        shapes |= norm(f"{layer}.output_query.LayerNorm", h)
    return shapes


def delta_shapes(s):
    """The delta checkpoint: 405 tensors at released size, 479 with the dead low_Qformer."""
    shapes = {}
    for i in range(s.llm_layers):
        for p in ("q_proj", "k_proj", "v_proj", "o_proj"):
            stem = f"llama_model.base_model.model.model.layers.{i}.self_attn.{p}"
            shapes[f"{stem}.lora_A.default.weight"] = (s.rank, s.llm)
            shapes[f"{stem}.lora_B.default.weight"] = (s.llm, s.rank)
    shapes |= linear("speech_pre_qformer_proj", s.hidden, s.whisper)
    shapes |= linear("beats_pre_qformer_proj", s.hidden, s.beats)
    shapes |= norm("ln_video", 3 * s.hidden)
    shapes["video_frame_position_embedding.weight"] = (s.positions, 3 * s.hidden)
    shapes["video_query_tokens"] = (1, 30, s.hidden)
    shapes["low_query_tokens"] = (1, 3, s.hidden)
    shapes |= linear("llama_proj", s.llm, 2 * s.hidden)
    shapes |= joint_qformer("video_Qformer", s)
    shapes |= joint_qformer("low_Qformer", s)
    return shapes


def instructblip_shapes(s, cross_width):
    h = s.hidden
    shapes = {"query_tokens": (1, 32, h), **norm("ln_vision", s.eva)}
    shapes["Qformer.bert.embeddings.word_embeddings.weight"] = (s.words, h)
    shapes["Qformer.bert.embeddings.position_embeddings.weight"] = (s.qformer_positions, h)
    shapes |= norm("Qformer.bert.embeddings.LayerNorm", h)
    for i in range(s.qformer_layers):
        layer = f"Qformer.bert.encoder.layer.{i}"
        blocks = ["attention"] + (["crossattention"] if i % 2 == 0 else [])
        for block in blocks:
            for part in ("query", "key", "value"):
                wide = cross_width if block == "crossattention" and part != "query" else h
                shapes |= linear(f"{layer}.{block}.self.{part}", h, wide)
            shapes |= linear(f"{layer}.{block}.output.dense", h, h)
            shapes |= norm(f"{layer}.{block}.output.LayerNorm", h)
        for mark in ("", "_query"):
            shapes |= linear(f"{layer}.intermediate{mark}.dense", s.qformer_feed_forward, h)
            shapes |= linear(f"{layer}.output{mark}.dense", h, s.qformer_feed_forward)
            shapes |= norm(f"{layer}.output{mark}.LayerNorm", h)
    return shapes


def eva_shapes(s):
    w = s.eva
    shapes = {"cls_token": (1, 1, w), "pos_embed": (1, s.grid**2 + 1, w)}
    shapes |= {"patch_embed.proj.weight": (w, 3, 14, 14), "patch_embed.proj.bias": (w,)}
    for i in range(s.eva_blocks):
        block = f"blocks.{i}"
        shapes |= norm(f"{block}.norm1", w) | norm(f"{block}.norm2", w)
        shapes |= {f"{block}.attn.qkv.weight": (3 * w, w)}
        shapes |= {f"{block}.attn.q_bias": (w,), f"{block}.attn.v_bias": (w,)}
        shapes |= linear(f"{block}.attn.proj", w, w)
        shapes |= linear(f"{block}.mlp.fc1", s.eva_feed_forward, w)
        shapes |= linear(f"{block}.mlp.fc2", w, s.eva_feed_forward)
    return shapes


def beats_shapes(s):
    w = s.beats
    shapes = {"patch_embedding.weight": (s.beats_patch, 1, 16, 16), **norm("layer_norm", s.beats_patch)}
    shapes |= linear("post_extract_proj", w, s.beats_patch)
    shapes |= {"encoder.pos_conv.0.weight_g": (1, 1, s.beats_kernel), "encoder.pos_conv.0.bias": (w,)}
    shapes["encoder.pos_conv.0.weight_v"] = (w, w // s.beats_groups, s.beats_kernel)
    for i in range(s.beats_layers):
        layer = f"encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", w, w)
        shapes |= linear(f"{layer}.self_attn.grep_linear", 8, w // s.beats_heads)
        shapes[f"{layer}.self_attn.grep_a"] = (1, s.beats_heads, 1, 1)
        shapes |= norm(f"{layer}.self_attn_layer_norm", w)
        shapes |= linear(f"{layer}.fc1", s.beats_feed_forward, w) | linear(f"{layer}.fc2", w, s.beats_feed_forward)
        shapes |= norm(f"{layer}.final_layer_norm", w)
    shapes["encoder.layers.0.self_attn.relative_attention_bias.weight"] = (s.beats_buckets, s.beats_heads)
    shapes |= norm("encoder.layer_norm", w)
    return shapes


def whisper_shapes(s):
    w = s.whisper
    shapes = {"model.encoder.conv1.weight": (w, 80, 3), "model.encoder.conv1.bias": (w,)}
    shapes |= {"model.encoder.conv2.weight": (w, w, 3), "model.encoder.conv2.bias": (w,)}
    shapes["model.encoder.embed_positions.weight"] = (s.whisper_positions, w)
    for i in range(s.whisper_layers):
        layer = f"model.encoder.layers.{i}"
        for part in ("q_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", w, w)
        shapes[f"{layer}.self_attn.k_proj.weight"] = (w, w)
        shapes |= norm(f"{layer}.self_attn_layer_norm", w) | norm(f"{layer}.final_layer_norm", w)
        shapes |= linear(f"{layer}.fc1", s.whisper_feed_forward, w) | linear(f"{layer}.fc2", w, s.whisper_feed_forward)
    return shapes | norm("model.encoder.layer_norm", w)


def llm_shapes(s):
    shapes = {"model.embed_tokens.weight": (s.vocabulary, s.llm)}
    for i in range(s.llm_layers):
        layer = f"model.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{layer}.self_attn.{part}.weight"] = (s.llm, s.llm)
        for part in ("gate_proj", "up_proj"):
            shapes[f"{layer}.mlp.{part}.weight"] = (s.llm_feed_forward, s.llm)
        shapes[f"{layer}.mlp.down_proj.weight"] = (s.llm, s.llm_feed_forward)
        shapes[f"{layer}.input_layernorm.weight"] = (s.llm,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (s.llm,)
    return shapes | {"model.norm.weight": (s.llm,), "lm_head.weight": (s.vocabulary, s.llm)}


def beats_cfg(s):
    """As in the official file: sizes among much that only training needs."""
    return {
        "input_patch_size": 16,
        "embed_dim": s.beats_patch,
        "conv_bias": False,
        "encoder_layers": s.beats_layers,
        "encoder_embed_dim": s.beats,
        "encoder_ffn_embed_dim": s.beats_feed_forward,
        "encoder_attention_heads": s.beats_heads,
        "activation_fn": "gelu",
        "layer_wise_gradient_decay_ratio": 0.6,
        "layer_norm_first": False,
        "deep_norm": True,
        "dropout": 0.0,
        "conv_pos": s.beats_kernel,
        "conv_pos_groups": s.beats_groups,
        "relative_position_embedding": True,
        "num_buckets": s.beats_buckets,
        "max_distance": 64,
        "gru_rel_pos": True,
        "finetuned_model": True,
        "predictor_dropout": 0.1,
        "predictor_class": 527,
    }


def llm_config(s):
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": s.llm,
        "intermediate_size": s.llm_feed_forward,
        "num_hidden_layers": s.llm_layers,
        "num_attention_heads": 4 if s.llm < 1000 else 40,
        "num_key_value_heads": 4 if s.llm < 1000 else 40,
        "vocab_size": s.vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "hidden_act": "silu",
    }


def whisper_config(s):
    return {
        "model_type": "whisper",
        "d_model": s.whisper,
        "encoder_layers": s.whisper_layers,
        "encoder_attention_heads": 4 if s.whisper < 1000 else 20,
        "encoder_ffn_dim": s.whisper_feed_forward,
        "decoder_layers": s.whisper_layers,
        "num_mel_bins": 80,
        "max_source_positions": s.whisper_positions,
        "activation_function": "gelu",
    }


def random_state(shapes, seed, scale=0.2):
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        tensor = scale * torch.randn(shape, generator=generator)
        is_norm = name.endswith("weight") and len(shape) == 1
        state[name] = 1 + tensor if is_norm or name.endswith(("weight_g", "grep_a")) else tensor
    return state


def golden_weights(path):
    """Weights of a golden file under their official names."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("weights.")]  # noqa: SIM118
        return {name.removeprefix("weights."): file.get_tensor(name) for name in names}


SECOND_NAMES = {
    "joint_Qformer": "video_Qformer",
    "speech_Qformer": "video_Qformer",
    "joint_query_tokens": "video_query_tokens",
    "speech_query_tokens": "video_query_tokens",
    "ln_joint": "ln_video",
    "ln_speech": "ln_video",
    "joint_frame_position_embedding": "video_frame_position_embedding",
    "llama_proj_joint": "llama_proj",
    "llama_proj_speech": "llama_proj",
}


def with_second_names(delta):
    """As the checkpoint looks where every registered name of a shared module was saved, with buffers."""
    more = {}
    for second, first in SECOND_NAMES.items():
        more |= {second + k.removeprefix(first): v.clone() for k, v in delta.items() if k.split(".")[0] == first}
    more["joint_Qformer.bert.embeddings.position_ids"] = torch.arange(512)[None]
    more["video_Qformer.bert.embeddings.position_ids"] = torch.arange(512)[None]
    more["llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    return delta | more


class Official:
    """The six sources as states in memory; change them, then ``write``."""

    def __init__(self, sizes=None, *, connector=None, visual=None, beats=None, second_names=True, seed=0):
        s = self.sizes = sizes or Sizes()
        connector = connector or {}
        self.delta = random_state(delta_shapes(s), seed + 1) | connector
        if second_names:
            self.delta = with_second_names(self.delta)
        self.instructblip = random_state(instructblip_shapes(s, s.eva), seed + 2)
        self.eva = random_state(eva_shapes(s), seed + 3)
        for name, tensor in (visual or {}).items():
            if name.startswith("visual_encoder."):
                self.eva[name.removeprefix("visual_encoder.")] = tensor
            else:
                self.instructblip[name] = tensor
        self.instructblip |= {
            "Qformer.bert.embeddings.position_ids": torch.arange(s.qformer_positions)[None],
            "Qformer.cls.predictions.bias": torch.zeros(s.words),
            "llm_proj.weight": torch.zeros(s.llm, s.hidden),
            "llm_proj.bias": torch.zeros(s.llm),
        }
        dead = {k.replace("blocks.0.", f"blocks.{s.eva_blocks}."): v for k, v in self.eva.items() if "blocks.0." in k}
        self.eva |= dead | {"norm.weight": torch.ones(s.eva), "head.weight": torch.zeros(5, s.eva)}
        self.beats = random_state(beats_shapes(s), seed + 4) | (beats or {})
        bias = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
        for i in range(1, s.beats_layers):
            self.beats[bias.format(i)] = self.beats[bias.format(0)].clone()
        self.beats |= {"predictor.weight": torch.zeros(527, s.beats), "predictor.bias": torch.zeros(527)}
        self.whisper = random_state(whisper_shapes(s), seed + 5)
        self.whisper |= {"model.decoder.embed_tokens.weight": torch.zeros(50, s.whisper)}
        self.llm = random_state(llm_shapes(s), seed + 6)
        self.llm |= {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}

    def write(self, folder, tokenizers):
        """Files as people have them: torch pickles with their wrappers, and two model folders.

        Args:
            folder: where to.
            tokenizers: folder with ``llm`` and ``bert``.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.delta, folder / "delta.pt")
        torch.save({"model": self.instructblip}, folder / "instructblip.pth")
        torch.save(self.eva, folder / "eva.pth")
        torch.save({"cfg": beats_cfg(self.sizes), "model": self.beats}, folder / "beats.pt")
        whisper, llm = folder / "whisper", folder / "llm"
        for place, config in ((whisper, whisper_config(self.sizes)), (llm, llm_config(self.sizes))):
            place.mkdir(exist_ok=True)
            (place / "config.json").write_text(json.dumps(config))
        save_file(self.whisper, whisper / "model.safetensors")
        names = list(self.llm)
        shards = {
            "pytorch_model-00001-of-00002.bin": names[: len(names) // 2],
            "pytorch_model-00002-of-00002.bin": names[len(names) // 2 :],
        }
        weight_map = {}
        for file, own in shards.items():
            torch.save({name: self.llm[name] for name in own}, llm / file)
            weight_map |= dict.fromkeys(own, file)
        (llm / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        for file in (tokenizers / "llm").iterdir():
            (llm / file.name).write_bytes(file.read_bytes())
        return {
            "delta": folder / "delta.pt",
            "instructblip": folder / "instructblip.pth",
            "eva": folder / "eva.pth",
            "beats": folder / "beats.pt",
            "whisper": whisper,
            "llm": llm,
            "bert_tokenizer": tokenizers / "bert",
        }


def in_memory(official):
    """(headers, numbers) of the sources without files: source -> name -> tensor, which tests may change."""
    states = {
        name: dict(getattr(official, name)) for name in ("delta", "instructblip", "eva", "beats", "whisper", "llm")
    }
    files = {}
    for name, state in states.items():
        files[name] = TensorFile(Path(f"{name}.pt"))
        files[name]._state = state
        files[name].__dict__["refs"] = {k: Ref(files[name], k, tuple(v.shape), v.dtype) for k, v in state.items()}
    found = ReleasedTensors(
        **{name: files[name].refs for name in states},
        instructblip_hf={},
        beats_cfg=beats_cfg(official.sizes),
        whisper_config=whisper_config(official.sizes),
        instructblip_config={},
        text_config=AutoConfig.for_model(**llm_config(official.sizes)),
        where={name: f"{name}.pt" for name in states},
        files=list(files.values()),
    )
    return found, states


def write_tokenizers(folder, words=60):
    """A SentencePiece Llama-style tokenizer trained here, and a BERT vocabulary one short of the embeddings."""
    from sentencepiece import SentencePieceTrainer

    llm, bert = Path(folder) / "llm", Path(folder) / "bert"
    llm.mkdir(parents=True)
    bert.mkdir()
    text = Path(folder) / "text.txt"
    text.write_text("\n".join(SENTENCES))
    SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(llm / "tokenizer"),
        vocab_size=399,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
    )
    (llm / "tokenizer.vocab").unlink()
    (llm / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "add_bos_token": True,
                "add_eos_token": False,
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "pad_token": "<unk>",
                "legacy": True,
                "model_max_length": 4096,
                "tokenizer_class": "LlamaTokenizer",
            }
        )
    )
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = ["what", "is", "said", "the", "who", "?", "in", "video", "describe", "and", "a", "##s"]
    letters = [f"[unused{i}]" for i in range(words - 1 - len(marks) - len(known))]
    (bert / "vocab.txt").write_text("\n".join([*marks, *known, *letters]) + "\n")
    return Path(folder)


SENTENCES = [
    "USER: <Img></Img> What is said in the video?\nASSISTANT: Somebody says that the rain will stop at noon.",
    "Describe the video and the sound in detail, and tell who speaks first and what the others answer.",
    "A dog barks twice, a door closes, and a woman asks whether anybody has seen the keys of the car.",
    "The man plays the piano while a child sings; later the audience claps and the lights go out.",
    "Numbers such as 12, 345 and 6789 are read digit by digit; words in capitals are READ ALOUD as well.",
    "How many people are there, and which of them holds the red cup after the blue one falls down?",
    "Two cats sit on the window sill; the first one sleeps, the second one watches the birds outside.",
] * 4
