"""Batched == single, item by item, for every mix of modalities and lengths, with cache and without, streamed or not."""

from __future__ import annotations

import pytest
import torch
from clips import MIX, clip

from video_salmonn.model.inputs import MediaInputs

NEW = 12


def logits_of(model, processor, rows, **how):
    questions, media = zip(*rows)
    batch = processor(list(questions), media=[list(m) for m in media])
    with torch.inference_mode():
        output = model(**batch, **how)
    return [output.logits[i][row.bool()] for i, row in enumerate(batch["attention_mask"])]


@pytest.fixture(scope="module")
def alone(system):
    model, processor = system
    return {name: logits_of(model, processor, [row])[0] for name, row in MIX.items()}


def test_a_batch_of_everything_gives_the_logits_of_each_item_alone(system, alone):
    together = logits_of(*system, list(MIX.values()))
    for (name, single), batched in zip(alone.items(), together):
        assert single.shape == batched.shape, name
        torch.testing.assert_close(batched, single, atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_the_comparison_would_notice_other_media(system, alone):
    question, _ = MIX["video with sound"]
    (other,) = logits_of(*system, [(question, [clip(7.2, seed=11)])])
    assert other.shape == alone["video with sound"].shape
    assert (other - alone["video with sound"]).abs().max() > 0.01


@pytest.mark.parametrize("system", ["plain"], indirect=True)
def test_every_kind_beside_the_next(system, alone):
    names = list(MIX)
    for first, second in zip(names, [*names[1:], names[0]]):
        for name, batched in zip((first, second), logits_of(*system, [MIX[first], MIX[second]])):
            torch.testing.assert_close(batched, alone[name], atol=1e-4, rtol=0)


def greedy_without_cache(engine, question, media, new):
    """Every step anew over the whole prompt; the repetition penalty on new tokens, as released."""
    model, processor = engine.model, engine.processor
    batch = processor(question, media=[list(media)])
    penalty = model.generation_config.repetition_penalty or 1.0
    made: list[int] = []
    with torch.no_grad():
        connected = model.connect_inputs(MediaInputs.taken_from(dict(batch)))
        prompt = model.embed(batch["input_ids"], connected.embeds if connected else None)
    for _ in range(new):
        extra = torch.tensor([made], dtype=torch.long)
        with torch.no_grad():
            inputs = torch.cat([prompt, model.get_input_embeddings()(extra)], dim=1)
            scores = model(inputs_embeds=inputs, use_cache=False).logits[0, -1]
        seen = torch.tensor(sorted(set(made)), dtype=torch.long)
        scores[seen] = torch.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
        made.append(int(scores.argmax()))
        if made[-1] == processor.tokenizer.eos_token_id:
            break
    return processor.tokenizer.decode(made, skip_special_tokens=True).strip()


def test_greedy_text_is_the_same_alone_batched_streamed_and_without_cache(engine):
    items = [{"question": q, "media": m, "max_new_tokens": NEW, "num_beams": 1} for q, m in MIX.values()]
    batched = engine.batch(items)
    texts = set()
    for (name, (question, media)), answer in zip(MIX.items(), batched):
        single = engine.ask(media, question, max_new_tokens=NEW, num_beams=1)
        stream = engine.stream(media, question, max_new_tokens=NEW, num_beams=1)
        assert "".join(stream) == single.text == answer.text, name
        assert greedy_without_cache(engine, question, media, NEW) == answer.text, name
        assert single.report["prompt_tokens"] == answer.report["prompt_tokens"], name
        assert single.report["new_tokens"] == answer.report["new_tokens"], name
        texts.add(single.text)
    assert len(texts) > 2  # answers differ, so that equality says something


def test_beams_do_not_notice_neighbours_either(engine):
    names = ("video with sound", "sound", "text")
    items = [{"question": MIX[n][0], "media": MIX[n][1], "max_new_tokens": 6, "num_beams": 3} for n in names]
    for item, answer in zip(items, engine.batch(items)):
        assert engine.batch([item])[0].text == answer.text


def test_a_batch_keeps_the_order_when_options_differ(engine):
    lengths = (3, 5, 3, 5)
    question, media = MIX["short sound"]
    items = [{"question": question, "media": media, "max_new_tokens": n, "num_beams": 1} for n in lengths]
    assert [a.report["new_tokens"] for a in engine.batch(items)] == list(lengths)
