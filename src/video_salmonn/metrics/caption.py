"""Caption metrics: CIDEr-D, METEOR 1.5, SPICE and SPIDEr, by pycocoevalcap's implementations.

Decisions:

- Captions and references go through the PTB tokenizer first, as in the COCO evaluation.
- CIDEr is ``cider`` here on the implementation's own scale (a perfect caption can reach 10; papers print x100).
- SPIDEr = (CIDEr + SPICE) / 2 (Liu et al., ICCV 2017). Without SPICE it is None and printed ``n/a``: never an average
  without it, never a stand-in.
- Intervals resample items. CIDEr's document frequencies stay those of the full set's references: they belong to the
  test set, not to the sample, and drawing an item twice would make its n-grams look common. METEOR's sufficient
  statistics are summed anew for every resample. SPICE and SPIDEr are means over items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.coco_java import corenlp_folder, meteor, meteor_of, missing_corenlp, ptb_tokenize, spice
from video_salmonn.metrics.intervals import RESAMPLES, bootstrap, mean, mean_interval
from video_salmonn.metrics.scored import Scored, require, same_length

CAPTION_METRICS = ("cider", "meteor", "spice", "spider")


def caption_scores(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str] = CAPTION_METRICS,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Scored]:
    """Score captions.

    Args:
        predictions: one caption an item; an empty one is allowed and scores 0.
        references: at least one caption an item.
        metrics: which of :data:`CAPTION_METRICS`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        EvaluationError: on sequences of unequal length, an item without a reference (naming it), an unknown metric.
        MissingPartError: without the ``eval`` extra or Java.
    """
    same_length(predictions=predictions, references=references)
    if unknown := sorted(set(metrics) - set(CAPTION_METRICS)):
        raise EvaluationError(f"no such caption metric: {', '.join(unknown)}; there are {', '.join(CAPTION_METRICS)}")
    for index, texts in enumerate(references):
        if not texts or not all(text.strip() for text in texts):
            raise EvaluationError(f"item {index} (counted from 0) has an empty reference caption or none")
    flat = ptb_tokenize([*predictions, *(text for texts in references for text in texts)])
    said, rest = flat[: len(predictions)], iter(flat[len(predictions) :])
    known = [[next(rest) for _ in texts] for texts in references]

    out: dict[str, Scored] = {}
    if {"cider", "spider"} & set(metrics):
        out["cider"] = _cider(said, known, resamples, seed)
    if "meteor" in metrics:
        out["meteor"] = _meteor(said, known, resamples, seed)
    if {"spice", "spider"} & set(metrics):
        # SPICE parses sentences, so it gets them as written.
        out["spice"] = _spice(predictions, references, resamples, seed)
    if "spider" in metrics:
        out["spider"] = _spider(out["cider"], out["spice"], resamples, seed)
    return {name: out[name] for name in metrics}


def _cider(said: Sequence[str], known: Sequence[Sequence[str]], resamples: int, seed: int) -> Scored:
    scorer = require("pycocoevalcap.cider.cider_scorer", "pycocoevalcap").CiderScorer(n=4, sigma=6.0)
    for hypothesis, texts in zip(said, known):
        scorer += (hypothesis, list(texts))
    _, scores = scorer.compute_score()
    items = tuple(float(score) for score in scores)
    note = "CIDEr weighs n-grams by how few items have them: with one item every weight is 0" if len(items) == 1 else ""
    return Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items, note)


def _meteor(said: Sequence[str], known: Sequence[Sequence[str]], resamples: int, seed: int) -> Scored:
    with meteor() as scorer:
        statistics = [scorer.statistics(hypothesis, texts) for hypothesis, texts in zip(said, known)]
        value, items = scorer.aggregate(statistics)
    low, high = bootstrap(np.array(statistics), meteor_of, resamples=resamples, seed=seed)
    return Scored(value, low, high, tuple(items))


def _spice(predictions: Sequence[str], references: Sequence[Sequence[str]], resamples: int, seed: int) -> Scored:
    if missing := missing_corenlp():
        note = f"SPICE needs {' and '.join(missing)} in {corenlp_folder()}; see `video-salmonn eval setup-spice`"
        return Scored(None, note=note)
    items = tuple(spice(predictions, references))
    return Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items)


def _spider(cider: Scored, spice_score: Scored, resamples: int, seed: int) -> Scored:
    if spice_score.value is None:
        return Scored(None, note="SPIDEr is the mean of CIDEr and SPICE: " + spice_score.note)
    items = tuple((c + s) / 2 for c, s in zip(cider.items, spice_score.items))
    return Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items)
