"""Request bodies. Unknown fields are accepted, and listed in the answer's ``video_salmonn.ignored_fields``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

Parts = list[dict[str, Any]]


class Lenient(BaseModel):
    """A body whose unknown fields are kept aside."""

    model_config = ConfigDict(extra="allow")

    def ignored(self, prefix: str = "") -> list[str]:
        """Names of fields that nothing reads; of each at most 64 characters, at most 32 in all."""
        return [f"{prefix}{name}"[:64] for name in sorted(self.model_extra or {})][:32]


class StreamOptions(Lenient):
    """``stream_options``."""

    include_usage: bool | None = None
    """Send one more chunk with the usage before the end."""


class MediaFields(Lenient):
    """``mm_processor_kwargs``: how this request's media are read."""

    use_audio_in_video: bool | None = None
    """False leaves a video's own sound out; it is heard by default."""
    use_video: bool | None = None
    """False leaves pictures out: only sound is read."""
    frames_are_video: bool | None = None
    """All images of a message are the frames of one video, in order."""
    fps: Annotated[float, Field(gt=0, le=120)] | None = None
    """Frames per second of images that are a video's frames; 2 by default."""
    pair_sound: bool | None = None
    """False keeps a picture and a sound of one message apart; by default they are one clip, seen and heard together."""
    start: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Start time in seconds."""
    end: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """End time in seconds."""
    long: Literal["error", "coarse"] | None = None
    """Media that do not fit the context: an error, or windows that are longer than usual."""


class Message(Lenient):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Parts | None = None


class ChatRequest(Lenient):
    """``POST /v1/chat/completions``."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0, the default, answers with the likeliest words; anything above draws."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    response_format: dict[str, Any] | None = None
    mm_processor_kwargs: MediaFields | None = None

    def unread(self) -> list[str]:
        """Every field of the body that has no effect."""
        found = self.ignored()
        for message in self.messages[:8]:
            found += message.ignored("messages[].")
        if self.stream_options is not None:
            found += self.stream_options.ignored("stream_options.")
        if self.mm_processor_kwargs is not None:
            found += self.mm_processor_kwargs.ignored("mm_processor_kwargs.")
        return list(dict.fromkeys(found))[:32]


class QuestionOption(Lenient):
    """One possible answer of a choice."""

    value: StrictStr | StrictBool
    description: str | None = None


class ScoreLevel(Lenient):
    """One level of a score."""

    label: StrictStr
    description: str | None = None


class PredicateQuestion(Lenient):
    """Is it so?"""

    type: Literal["predicate"]
    instructions: str | Parts
    name: str | None = None


class ChoiceQuestion(Lenient):
    """Which of these?"""

    type: Literal["choice"]
    instructions: str | Parts
    name: str | None = None
    choices: Annotated[list[QuestionOption], Field(min_length=2, max_length=255)]


class ScoreQuestion(Lenient):
    """How much?"""

    type: Literal["score"]
    instructions: str | Parts
    name: str | None = None
    levels: Annotated[list[ScoreLevel], Field(min_length=2, max_length=20)]


AnyQuestion = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionsRequest(Lenient):
    """``POST /v1/decisions``."""

    model: str | None = None
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Text; or content parts, as those of a user's message; or messages."""
    questions: Annotated[list[AnyQuestion], Field(min_length=1)]
    mm_processor_kwargs: MediaFields | None = None

    def unread(self) -> list[str]:
        """Every field of the body that has no effect."""
        found = self.ignored()
        for question in self.questions[:8]:
            found += question.ignored("questions[].")
        if self.mm_processor_kwargs is not None:
            found += self.mm_processor_kwargs.ignored("mm_processor_kwargs.")
        return list(dict.fromkeys(found))[:32]


class TranscriptForm(Lenient):
    """``POST /v1/audio/transcriptions`` as multipart/form-data."""

    file: Annotated[bytes, Field(json_schema_extra={"type": "string", "format": "binary"})]
    model: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] | None = None
    language: str | None = None
    decoder: Literal["model", "whisper"] | None = None
    start: float | None = None
    end: float | None = None
