import shutil
import zipfile

import numpy as np
import psutil
import pytest

from video_salmonn.errors import EvaluationError, MissingPartError
from video_salmonn.metrics.caption import caption_scores
from video_salmonn.metrics.coco_java import CORENLP_JARS, meteor, meteor_of, ptb_tokenize, spice

pytest.importorskip("pycocoevalcap")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime on this machine")

REFERENCES = [
    ["a man rides a brown horse on the beach", "somebody is riding a horse"],
    ["two dogs are barking loudly while a car passes", "dogs bark"],
    ["rain falls on a metal roof", "it is raining hard"],
]
PREDICTIONS = ["a man riding a horse along the beach", "two big dogs barked at a passing automobile", "rain"]


@pytest.fixture
def no_corenlp(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO_SALMONN_CORENLP", str(tmp_path))
    return tmp_path


@needs_java
def test_tokenizer_drops_case_and_punctuation_and_keeps_one_line_a_text():
    got = ptb_tokenize(["A dog's bark, loud!", "", "two\nlines\u2028and \x0b more", "Émile — ok"])
    assert got[0] == "a dog 's bark loud"
    assert got[1] == ""
    assert got[2] == "two lines and more"
    assert got[3].startswith("émile")
    assert ptb_tokenize([]) == []


@needs_java
def test_cider_hand_worked():
    # Two items without common words: every n-gram has idf log 2, so identical captions have cosine 1 at each order
    # that exists. Two words have orders 1 and 2 of 4 -> 10 * 2/4; four words have all four -> 10.
    done = caption_scores(["red car", "blue sea under clouds"], [["red car"], ["blue sea under clouds"]], ["cider"])[
        "cider"
    ]
    assert done.items == pytest.approx((5.0, 10.0))
    assert done.value == pytest.approx(7.5)


@needs_java
def test_cider_equals_the_library():
    from pycocoevalcap.cider.cider import Cider

    ours = caption_scores(PREDICTIONS, REFERENCES, ["cider"])["cider"]
    value, items = Cider().compute_score(
        {n: ptb_tokenize(texts) for n, texts in enumerate(REFERENCES)},
        {n: ptb_tokenize([text]) for n, text in enumerate(PREDICTIONS)},
    )
    assert ours.value == pytest.approx(value)
    assert ours.items == pytest.approx(items)
    assert ours.low <= ours.value <= ours.high


@needs_java
def test_meteor_hand_worked_and_equal_to_the_jar():
    with meteor() as jar:
        rows = [jar.statistics(*pair) for pair in zip(ptb_tokenize(PREDICTIONS), map(ptb_tokenize, REFERENCES))]
        value, items = jar.aggregate(rows)
        empty = jar.aggregate([jar.statistics("", ["a dog"])])[0]
        same = jar.aggregate([jar.statistics("a dog runs", ["a dog runs"])])[0]
        mixed = jar.aggregate([rows[2], rows[0], rows[1]])[0]
        odd = jar.aggregate([jar.statistics("a dog ||| runs", ["a dog runs ||| fast"])])[0]
        short = jar.aggregate([jar.statistics("the cat", ["the cat sat"])])[0]
    assert meteor_of(np.array(rows)) == pytest.approx(items, abs=1e-6)
    assert meteor_of(np.array(rows).sum(0, keepdims=True))[0] == pytest.approx(value, abs=1e-6)
    assert (empty, same) == (0.0, 1.0)
    assert mixed == pytest.approx(value, abs=1e-12), "the order of captions does not matter"
    assert 0 < odd < 1, "the jar's separator inside a caption does no harm"
    # P = 1; R = (0.75*1 + 0.25*1) / (0.75*2 + 0.25*1) = 4/7; F = P R / (0.85 P + 0.15 R); one chunk over two words
    precision, recall = 1.0, 4 / 7
    harmonic = precision * recall / (0.85 * precision + 0.15 * recall)
    assert short == pytest.approx(harmonic * (1 - 0.6 * 0.5**0.2), abs=1e-6)


@needs_java
def test_spider_is_not_available_without_corenlp_and_says_so(no_corenlp):
    done = caption_scores(PREDICTIONS, REFERENCES)
    assert done["spice"].value is None and done["spider"].value is None
    assert done["spider"].to_dict()["value"] is None
    assert CORENLP_JARS[0] in done["spider"].note and str(no_corenlp) in done["spider"].note
    assert done["cider"].value > 0 and 0 < done["meteor"].value < 1
    assert done["meteor"].low <= done["meteor"].value <= done["meteor"].high


@needs_java
def test_spice_starts_and_says_that_the_files_beside_it_are_no_corenlp(no_corenlp):
    """As far as SPICE can be run without CoreNLP: the scorer reads its input and looks for CoreNLP's first class."""
    for name in CORENLP_JARS:
        with zipfile.ZipFile(no_corenlp / name, "w") as jar:
            jar.writestr("META-INF/MANIFEST.MF", "")
    with pytest.raises(EvaluationError, match=r"edu.stanford.nlp") as caught:
        spice(PREDICTIONS, REFERENCES)
    assert str(no_corenlp) in caught.value.remedy and "3.6.0" in caught.value.remedy


@needs_java
def test_the_files_asked_for_are_those_pycocoevalcap_fetches():
    from pycocoevalcap.spice import get_stanford_models

    assert (f"{get_stanford_models.JAR}.jar", f"{get_stanford_models.JAR}-models.jar") == CORENLP_JARS


@needs_java
def test_order_of_items_does_not_matter():
    order = [2, 0, 1]
    a = caption_scores(PREDICTIONS, REFERENCES, ["cider"], resamples=50)["cider"]
    b = caption_scores([PREDICTIONS[i] for i in order], [REFERENCES[i] for i in order], ["cider"], resamples=50)[
        "cider"
    ]
    assert a.to_dict() == b.to_dict()
    assert [a.items[i] for i in order] == list(b.items)


@needs_java
def test_a_broken_meteor_is_reported_and_replaced():
    with pytest.raises(EvaluationError, match="METEOR's process ended early"), meteor() as jar:
        (java,) = (child for child in psutil.Process().children() if "java" in child.name())
        java.kill()
        java.wait()
        jar.statistics("a", ["a"])
    with meteor() as jar:
        assert jar.alive


def test_missing_java_names_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingPartError, match="java") as caught:
        caption_scores(["a"], [["b"]])
    assert "default-jre" in caught.value.remedy


def test_bad_input_fails():
    with pytest.raises(EvaluationError, match="item 1"):
        caption_scores(["a", "b"], [["a"], [" "]])
    with pytest.raises(EvaluationError, match="bleu"):
        caption_scores(["a"], [["b"]], ["bleu"])
    with pytest.raises(EvaluationError, match="no items"):
        caption_scores([], [])
