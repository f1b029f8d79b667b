"""The token that stands for media in ids: ``<media>``, a token of its own behind the language model's vocabulary.

It has no row among the embeddings: the connector's tokens take its place. Text that a person writes never becomes it.
Models saved by earlier versions keep the id they were saved with (0), which was another token's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MEDIA_TOKEN = "<media>"


def add_media_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Give a tokenizer the media token, if it has none, and return its id: a configuration's ``media_token_id``."""
    from transformers import AddedToken

    tokenizer.add_tokens([AddedToken(MEDIA_TOKEN, special=True, normalized=False)], special_tokens=True)
    return int(tokenizer.convert_tokens_to_ids(MEDIA_TOKEN))
