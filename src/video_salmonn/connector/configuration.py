"""What the connector can be: levels, widths, mask direction, and the few places where paper and release differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from video_salmonn.errors import ConfigError
from video_salmonn.sub_config import SubConfig
from video_salmonn.wording import counted

MaskDirection = Literal["past", "future", "none"]
DiversityForm = Literal["released", "paper"]


@dataclass(frozen=True)
class Level:
    """One resolution of the Q-Former.

    Attributes:
        frames: window length k in frames of ``frame_seconds`` (1 = the paper's high resolution, 10 = its low one).
        queries: queries N per window.
    """

    frames: int
    queries: int


class ConnectorConfig(SubConfig):
    """Sizes and choices of the multi-resolution causal Q-Former. Defaults are those of the released 13B checkpoint,
    except ``mask_direction``, ``attend_padding`` and ``trim_padding``, whose defaults are right for new models.

    Attributes:
        hidden_size: width D of the queries, and of each modality after its projection.
        num_attention_heads: heads of query, cross and block attention alike.
        intermediate_size: width of the query feed-forward.
        num_hidden_layers: layers of a Q-Former.
        visual_dim: width of the visual encoder's tokens. Equal to ``hidden_size`` (and used as is) in the release;
            any other width gets a linear projection.
        speech_dim: width of the speech encoder's steps, or None without one.
        audio_dim: width of the sound-event encoder's steps, or None without one.
        llm_dim: width of the language model's embeddings.
        visual_tokens: V, visual tokens of a frame.
        audio_tokens: A, audio steps under a frame.
        frame_seconds: length of a frame on the time axis.
        levels: the resolutions, by ascending window.
        share_qformer: one Q-Former for all levels (released), or one for each.
        mask_direction: which frames of its window a frame attends to in the block self-attention: ``past`` (itself
            and earlier ones, the paper §3.2.1), ``future`` (itself and later ones: what the released weights were
            trained with), ``none`` (no block self-attention at all).
        attend_padding: let padding frames be attended to, as the released code does. Off: they are masked, so a
            batch gives what each item gives alone.
        synchronise: sight and sound lie side by side on one time axis (paper §3.1). Off, for the paper's ablation
            without synchronisation: they follow each other, sight first, and no frame holds both; windows, queries and
            weights stay as they are, and media with both take the tokens of both lengths.
        trim_padding: give the language model no tokens for time that is not there. The release gives 180 tokens for
            anything up to 30 s.
        dropout: on embeddings, attention weights and outputs, while training.
        layer_norm_eps: of the Q-Former's norms.
        input_norm_eps: of the norm on the joint features.
        position_rows: rows of the position table, or None for just as many as the widest window needs.
    """

    model_type = "video_salmonn_connector"
    base_config_key = "connector_config"

    hidden_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_hidden_layers: int = 2
    visual_dim: int | None = 768
    speech_dim: int | None = 1280
    audio_dim: int | None = 768
    llm_dim: int = 5120
    visual_tokens: int = 32
    audio_tokens: int = 25
    frame_seconds: float = 0.5
    levels: tuple[Level, ...] = (Level(1, 3), Level(10, 30))
    share_qformer: bool = True
    mask_direction: MaskDirection = "past"
    attend_padding: bool = False
    synchronise: bool = True
    trim_padding: bool = True
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    input_norm_eps: float = 1e-5
    position_rows: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.levels, (list, tuple)):
            raise ConfigError(f"connector.levels is {self.levels!r}", remedy="give a list: [{frames: 1, queries: 3}]")
        self.levels = tuple(_level(level) for level in self.levels)
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        if not self.levels:
            raise ConfigError(
                "connector.levels is empty", remedy="give at least one window, e.g. [{frames: 10, queries: 30}]"
            )
        windows = [level.frames for level in self.levels]
        if windows != sorted(set(windows)) or windows[0] < 1:
            raise ConfigError(
                f"connector.levels must have ascending, different windows of at least one frame, got {windows}",
                remedy="sort the levels by frames, finest first",
            )
        if any(level.queries < 1 for level in self.levels):
            raise ConfigError("connector.levels: every level needs at least one query")
        finest = self.levels[0]
        if any(level.queries * finest.frames != finest.queries * level.frames for level in self.levels):
            raise ConfigError(
                f"connector.levels spend different numbers of queries per frame and cannot be fused: {self.levels}",
                remedy="keep queries / frames equal over the levels, e.g. 3 per 1 frame and 30 per 10 frames",
            )
        if finest.queries % finest.frames and finest.frames % finest.queries:
            raise ConfigError(f"connector.levels: {finest} gives no whole number of tokens or of frames per token")
        if self.visual_dim is None and self.speech_dim is None and self.audio_dim is None:
            raise ConfigError("connector: at least one of visual_dim, speech_dim, audio_dim is needed")
        for name, width in (("hidden_size", self.hidden_size), ("joint width", self.joint_dim)):
            if width % self.num_attention_heads:
                raise ConfigError(
                    f"connector: {name} {width} is not divisible by num_attention_heads {self.num_attention_heads}"
                )
        if self.num_hidden_layers < 1 or not 0 <= self.dropout < 1 or self.frame_seconds <= 0:
            raise ConfigError(
                f"connector: num_hidden_layers {self.num_hidden_layers}, dropout {self.dropout}, frame_seconds "
                f"{self.frame_seconds} are to be at least 1, in [0, 1), and positive"
            )
        if min(self.layer_norm_eps, self.input_norm_eps) <= 0:
            raise ConfigError("connector: layer_norm_eps and input_norm_eps are to be positive")
        if self.mask_direction not in ("past", "future", "none"):
            raise ConfigError(
                f"connector.mask_direction is {self.mask_direction!r}",
                remedy="use past (paper), future (released weights) or none (no block attention)",
            )
        if self.position_rows is not None and self.position_rows < self.positions_used:
            raise ConfigError(
                f"connector.position_rows {self.position_rows} is less than the "
                f"{counted(self.positions_used, 'position')} of the "
                f"widest window"
            )

    @property
    def slots(self) -> int:
        """Positions S a frame takes on the joint axis: the larger of V and A, the smaller being zero-padded."""
        return max(self.visual_tokens if self.visual_dim else 0, self.audio_tokens if self.has_sound else 0)

    @property
    def has_sound(self) -> bool:
        """Whether there is a speech or a sound-event branch."""
        return self.speech_dim is not None or self.audio_dim is not None

    @property
    def joint_dim(self) -> int:
        """Width of [visual | speech | audio] (2304 in the release)."""
        return self.hidden_size * sum(dim is not None for dim in (self.visual_dim, self.speech_dim, self.audio_dim))

    @property
    def window_multiple(self) -> int:
        """Frames are padded to a multiple of this, so that every level's windows fit."""
        return math.lcm(*(level.frames for level in self.levels))

    @property
    def positions_used(self) -> int:
        """Positions of the widest window."""
        return self.levels[-1].frames * self.slots

    @property
    def tokens_per_second(self) -> float:
        """Tokens given to the language model per second of media (6 in the paper)."""
        return self.levels[0].queries / self.levels[0].frames / self.frame_seconds

    def frames_for(self, seconds: float) -> int:
        """Frames of ``frame_seconds`` that cover ``seconds`` (at least one)."""
        return max(1, math.ceil(round(seconds / self.frame_seconds, 6)))

    def axis_frames(self, sight: int, sound: int) -> int:
        """Frames that media with ``sight`` frames of picture and ``sound`` frames of sound take on the joint axis."""
        return max(sight, sound) if self.synchronise else sight + sound

    def tokens_for(self, frames: int, coarseness: int = 1) -> int:
        """Tokens the language model gets for ``frames`` real frames, with windows ``coarseness`` times as long."""
        level = self.levels[0]
        if not self.trim_padding:
            multiple = self.window_multiple * coarseness
            frames = -(-frames // multiple) * multiple
        return -(-frames * level.queries // (level.frames * coarseness))

    def windows_for(self, frames: int) -> tuple[int, ...]:
        """Windows of each level over ``frames`` real frames; where padding is attended, those of padding too."""
        if self.attend_padding:
            frames = -(-frames // self.window_multiple) * self.window_multiple
        return tuple(-(-frames // level.frames) for level in self.levels)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form."""
        return super().to_dict() | {"levels": [asdict(level) for level in self.levels]}


def _level(value: Any) -> Level:
    try:
        level = value if isinstance(value, Level) else Level(**value) if isinstance(value, Mapping) else Level(*value)
    except TypeError:
        level = None
    if level is None or not all(type(n) is int for n in (level.frames, level.queries)):
        raise ConfigError(
            f"connector.levels: {value!r} is not a level", remedy="give whole numbers, e.g. {frames: 10, queries: 30}"
        )
    return level
