"""Conversations to token ids: templates, pieces tokenised one by one, media places, loss mask.

A template is turned into *pieces*: text written by the template (control tokens are read as such), text written by a
person (control tokens are ordinary characters in it), answers (the loss is on them), and places for media. Each piece
is tokenised by itself, as the released code does for Vicuna, so neither a question nor an answer can reach over
its border, and no user text can become a control token.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from video_salmonn.errors import ConfigError
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["template", "user", "answer", "media", "end"]
IGNORED = -100
TOKENISING = threading.RLock()
"""Tokenizers keep the settings of a call in themselves, so only one thread may use one at a time."""
MEDIA_TYPES = ("media", "video", "audio", "image")
_SOURCES = ("url", "path", "base64")


def sources_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """The sources that a media part of a message brings, by the names of their keys."""
    return {name: part[name] for name in (part["type"], *_SOURCES) if part.get(name) is not None}


def places(conversation: str | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Media parts of a conversation's messages, in order."""
    if isinstance(conversation, str) or not isinstance(conversation, Sequence):
        return []  # `parse` reports what is not a conversation
    contents = [message.get("content", "") for message in conversation if isinstance(message, Mapping)]
    parts = [part for content in contents if isinstance(content, (list, tuple)) for part in content]
    return [part for part in parts if isinstance(part, Mapping) and part.get("type") in MEDIA_TYPES]


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Raise for a key whose value would be left out silently; None stands for no value."""
    unknown = sorted(str(name) for name, value in mapping.items() if value is not None and name not in known)
    if unknown:
        raise ConfigError(f"{what} has {', '.join(unknown)}, which nothing reads", remedy=f"known: {', '.join(known)}")


@dataclass(frozen=True)
class PromptPart:
    """One part of a prompt.

    Attributes:
        kind: ``template`` | ``user`` | ``answer`` | ``media`` | ``end`` (what closes an answer; the loss is on it).
        text: the characters; empty for media.
    """

    kind: Kind
    text: str = ""


@dataclass(frozen=True)
class Turn:
    """One message: who speaks, and the parts of it in order (text, or None where a media item goes)."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | None, ...]


@dataclass(frozen=True)
class Rendered:
    """A tokenised conversation.

    Attributes:
        input_ids: token ids; once the media have their tokens, the media id for every media token.
        labels: ids where the loss counts, else -100.
        replaced: how many user characters' tokens were the media id and were taken out.
        places: for each media item the index in ``input_ids`` that its tokens go before; empty once they are there.
    """

    input_ids: list[int]
    labels: list[int]
    replaced: int = 0
    places: tuple[int, ...] = ()

    def with_media(self, lengths: Sequence[int], media_token_id: int) -> Rendered:
        """The same conversation with the media's tokens in their places.

        Args:
            lengths: tokens of each media item, in order.
            media_token_id: stands for one media token.

        Raises:
            ValueError: other than one length for each place.
        """
        ids, labels, done = [], [], 0
        for place, length in zip(self.places, lengths, strict=True):
            ids += [*self.input_ids[done:place], *[media_token_id] * length]
            labels += [*self.labels[done:place], *[IGNORED] * length]
            done = place
        return Rendered(ids + self.input_ids[done:], labels + self.labels[done:], self.replaced)


def readable(text: Any, what: str = "the question") -> str:
    """Text that can be tokenised.

    Raises:
        ConfigError: it is not a text, or holds half of a surrogate pair, which is not a character.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{what} is {type(text).__name__}, not text", remedy="give a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{what} is not valid Unicode: character {error.start + 1} is a lone surrogate ({text[error.start]!a})",
            remedy="pass text that was decoded from valid UTF-8",
        ) from None
    return text


def parse(conversation: str | Sequence[Mapping[str, Any]], media: int) -> list[Turn]:
    """Normalise a question or a list of messages; media not placed by the caller go before the first question.

    Args:
        conversation: a question, or messages ``{"role", "content"}`` with content a string or a list of parts
            ``{"type": "text", "text"}`` and ``{"type": "video" | "audio" | "image" | "media"}``.
        media: number of media items there are.

    Raises:
        ConfigError: an empty conversation, an unknown role or part, or more places than media.
    """
    if isinstance(conversation, str):
        conversation = [{"role": "user", "content": conversation}]
    elif not isinstance(conversation, Sequence):
        raise ConfigError(f"the question is {type(conversation).__name__}", remedy="give text or a list of messages")
    turns: list[Turn] = []
    for message in conversation:
        if not isinstance(message, Mapping):
            raise ConfigError(f"a message is {type(message).__name__}", remedy='give {"role": …, "content": …}')
        _check_keys(message, ("role", "content"), "a message")
        role, content = message.get("role"), message.get("content", "")
        if not isinstance(content, (str, Sequence)):
            raise ConfigError(f"the content of a message is {type(content).__name__}", remedy="give text or a list")
        if role not in ("system", "user", "assistant"):
            raise ConfigError(f"unknown role {role!r} in the conversation", remedy="use system, user or assistant")
        parts: list[str | None] = []
        for part in [content] if isinstance(content, str) else content:
            if isinstance(part, str):
                parts.append(readable(part))
            elif not isinstance(part, Mapping):
                raise ConfigError(f"a content part is {type(part).__name__}", remedy='give text or {"type": …}')
            elif part.get("type") == "text":
                _check_keys(part, ("type", "text"), "a text part")
                parts.append(readable(part.get("text")))
            elif part.get("type") in MEDIA_TYPES:
                _check_keys(part, ("type", part["type"], *_SOURCES), f"a part of type {part['type']}")
                if len(named := sources_of(part)) > 1:
                    raise ConfigError(f"a part of type {part['type']} brings {' and '.join(named)}", remedy="give one")
                parts.append(None)
            else:
                raise ConfigError(f"unknown content part {part.get('type')!r}", remedy=f"text or one of {MEDIA_TYPES}")
        turns.append(Turn(role, tuple(parts)))
    places = sum(part is None for turn in turns for part in turn.parts)
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        raise ConfigError("the conversation asks nothing", remedy="give at least one user message")
    if places > media:
        raise ConfigError(f"the conversation has places for {counted(places, 'media item')}, {media} were given")
    if places < media:
        if places:
            raise ConfigError(f"{counted(media, 'media item', 'were')} given, the conversation has places for {places}")
        turns[first] = Turn("user", (*[None] * media, *turns[first].parts))
    last = next(turn for turn in reversed(turns) if turn.role == "user")
    if not any(part and part.strip() for part in last.parts):
        raise ConfigError("the question is empty", remedy="ask something")
    return turns


def _merge(pieces: list[PromptPart]) -> list[PromptPart]:
    """Join neighbours of the same kind; drop empty text."""
    merged: list[PromptPart] = []
    for piece in pieces:
        if piece.kind != "media" and not piece.text:
            continue
        if merged and piece.kind != "media" and merged[-1].kind == piece.kind:
            merged[-1] = PromptPart(piece.kind, merged[-1].text + piece.text)
        else:
            merged.append(piece)
    return merged


def vicuna(turns: Sequence[Turn], eos: str, *, add_generation_prompt: bool = True) -> list[PromptPart]:
    """Vicuna v1 as released: ``USER: <Img>`` media ``</Img> question\\nASSISTANT:`` answer ``</s>``, no system prompt.

    A question and the template text around it are one piece, as released; ``<Img>`` is ordinary text there. Without
    ``add_generation_prompt`` a last question ends where its text does.
    """
    after = "\nASSISTANT:"
    return _plain(turns, "USER: ", after, eos, after if add_generation_prompt else "")


def llama2(turns: Sequence[Turn], eos: str) -> list[PromptPart]:
    """Llama-2: ``[INST] <Img>`` media ``</Img> question [/INST]`` answer ``</s>``, whose prompt for an answer is the
    question's own end."""
    return _plain(turns, "[INST] ", " [/INST]", eos, " [/INST]")


def _plain(turns: Sequence[Turn], before: str, after: str, eos: str, last: str) -> list[PromptPart]:
    pieces: list[PromptPart] = []
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            pieces += [PromptPart("answer", "".join(part or "" for part in turn.parts)), PromptPart("end", eos)]
            continue
        if turn.role == "user":
            pieces.append(PromptPart("user", before))
        for part in turn.parts:
            pieces += [PromptPart("user", part)] if part is not None else _image()
        closing = last if index == len(turns) - 1 else after
        pieces.append(PromptPart("user", closing if turn.role == "user" else "\n"))
    return _merge(pieces)


def _image() -> list[PromptPart]:
    return [PromptPart("user", "<Img>"), PromptPart("media"), PromptPart("user", "</Img> ")]


def chat(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, add_generation_prompt: bool, system: str | None = None
) -> list[PromptPart]:
    """The language model's own chat template.

    The template is applied to marks in place of contents and cut at the marks, so its control text and what people
    wrote never touch.

    Args:
        turns, tokenizer, add_generation_prompt: see :func:`build_pieces`.
        system: system message of a conversation that has none, which may be empty; None leaves the template's own.
    """
    if system is not None and turns[0].role != "system":
        turns = [Turn("system", (system,)), *turns]
    contents: list[list[PromptPart]] = []
    messages = []
    for turn in turns:
        if turn.role == "assistant":
            contents.append([PromptPart("answer", "".join(part or "" for part in turn.parts))])
        else:
            contents.append([PromptPart("media") if part is None else PromptPart("user", part) for part in turn.parts])
        messages.append({"role": turn.role, "content": f"\ue000{len(contents) - 1}\ue001"})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    pieces: list[PromptPart] = []
    rest = str(text)
    for index, content in enumerate(contents):
        head, mark, rest = rest.partition(f"\ue000{index}\ue001")
        if not mark:
            raise ConfigError("the chat template drops or rewrites a message", remedy="use prompt: vicuna or llama2")
        pieces += [PromptPart("template", head), *content]
        if content and content[0].kind == "answer":
            end = next((t for t in _end_tokens(tokenizer) if rest.startswith(t)), "")
            pieces.append(PromptPart("end", end))
            rest = rest[len(end) :]
    return _merge([*pieces, PromptPart("template", rest)])


def _end_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Control tokens a template may close an answer with, longest first."""
    return sorted({str(token) for token in tokenizer.all_special_tokens}, key=len, reverse=True)


def build_pieces(
    template: str,
    turns: Sequence[Turn],
    tokenizer: PreTrainedTokenizerBase,
    *,
    add_generation_prompt: bool = True,
    system: str | None = None,
) -> list[PromptPart]:
    """Pieces of a conversation under a template (``vicuna`` | ``llama2`` | ``chat``).

    Args:
        template: the template's name.
        turns: the conversation.
        tokenizer: of the language model.
        add_generation_prompt: leave the prompt open for the model's answer (Vicuna's ``ASSISTANT:``, the chat
            template's generation prompt; Llama-2 has none).
        system: see :func:`chat`; the other templates have no place for it.
    """
    if template == "chat":
        return chat(turns, tokenizer, add_generation_prompt=add_generation_prompt, system=system)
    eos = str(tokenizer.eos_token or "")
    if template == "vicuna":
        return vicuna(turns, eos, add_generation_prompt=add_generation_prompt)
    return llama2(turns, eos)


def tokenise(
    pieces: Sequence[PromptPart],
    tokenizer: PreTrainedTokenizerBase,
    media_token_id: int,
    *,
    begin: bool,
) -> Rendered:
    """Pieces to ids, with places for media that are not filled yet.

    Args:
        pieces: of :func:`build_pieces`.
        tokenizer: of the language model.
        media_token_id: represents one media token; user text never contains it.
        begin: start with the tokenizer's begin-of-sequence token (Vicuna and Llama-2; chat templates bring their own).

    Returns:
        ids, labels, places, and how many user tokens were taken out because they equalled ``media_token_id``.
    """
    ids: list[int] = []
    labels: list[int] = []
    places: list[int] = []
    replaced = 0
    if begin and tokenizer.bos_token_id is not None:
        ids.append(tokenizer.bos_token_id)
        labels.append(IGNORED)
    for piece in pieces:
        if piece.kind == "media":
            places.append(len(ids))
            continue
        by_person = piece.kind in ("user", "answer")
        with TOKENISING:
            new = tokenizer(piece.text, add_special_tokens=False, split_special_tokens=by_person)["input_ids"]
        if by_person:
            kept = [token for token in new if token != media_token_id]
            replaced += len(new) - len(kept)
            new = kept
        ids += new
        labels += new if piece.kind in ("answer", "end") else [IGNORED] * len(new)
    return Rendered(ids, labels, replaced, tuple(places))
