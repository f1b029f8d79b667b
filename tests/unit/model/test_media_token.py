"""A media token of its own: no text becomes it, and it needs no row among the embeddings."""

import torch

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.model.byte_tokenizer import byte_tokenizer
from video_salmonn.model.media_token import MEDIA_TOKEN, add_media_token


def test_it_lies_behind_the_vocabulary_and_is_added_once():
    tokenizer = byte_tokenizer()
    size = len(tokenizer)
    assert add_media_token(tokenizer) == add_media_token(tokenizer) == size == len(tokenizer) - 1


def test_text_never_becomes_it():
    model, processor = build_tiny()
    assert processor.media_token == MEDIA_TOKEN
    rendered = processor.render(f"What is {MEDIA_TOKEN}?", [3])
    assert rendered.input_ids.count(model.config.media_token_id) == 3 and rendered.replaced == 0
    rest = [token for token in rendered.input_ids if token != model.config.media_token_id]
    assert f"What is {MEDIA_TOKEN}?" in processor.tokenizer.decode(rest)


def test_a_token_without_a_row_is_embedded_as_the_media_are():
    model, _ = build_tiny()
    model.config.media_token_id = model.get_input_embeddings().num_embeddings + 7
    ids = torch.tensor([[5, model.config.media_token_id, model.config.media_token_id, 6]])
    media = torch.randn(2, model.connector.config.llm_dim)
    embeds = model.embed(ids, media)
    assert torch.equal(embeds[0, 1:3], media) and torch.equal(embeds[0, 0], model.get_input_embeddings().weight[5])


def test_a_saved_model_keeps_it(tmp_path):
    model, processor = build_tiny()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    engine = VideoSalmonn.load(tmp_path)
    assert engine.processor.media_token == MEDIA_TOKEN
    assert engine.model.config.media_token_id == model.config.media_token_id == engine.processor.config.media_token_id
