import itertools

import pytest
import torch

from video_salmonn.model.joint_decoding import FLOOR, JointDecoding, PrefixScorer


def spell(path):
    """What a path of columns says: repeats merged, blanks dropped."""
    return tuple(column for column, _ in itertools.groupby(path) if column)


def all_paths(logs):
    """Probability of every text, by adding up every path."""
    length, width = logs.shape
    found = {}
    for path in itertools.product(range(width), repeat=length):
        found[spell(path)] = found.get(spell(path), 0.0) + float(logs[range(length), path].double().sum().exp())
    return found


@pytest.fixture
def posteriors():
    torch.manual_seed(3)
    return [(2 * torch.randn(length, 4)).log_softmax(-1) for length in (5, 3, 1)]


def walk(scorer, item, columns):
    """The log-probability of a text: its tokens' and its end's, one after the other."""
    items = torch.tensor([item])
    state, total = scorer.start(items), 0.0
    for column in columns:
        following, _ = scorer.following(state, items)
        total += float(following[0, column])
        state = scorer.extend(state, items, torch.tensor([column]))
    return total + float(scorer.following(state, items)[1])


@pytest.mark.parametrize("item", [0, 1, 2])
def test_texts_have_the_probability_that_all_their_alignments_have_together(posteriors, item):
    scorer = PrefixScorer(posteriors)
    for text, probability in all_paths(posteriors[item]).items():
        assert walk(scorer, item, text) == pytest.approx(torch.tensor(probability).log().item(), abs=1e-4), text


def test_what_may_follow_adds_up_to_one(posteriors):
    scorer = PrefixScorer(posteriors)
    items = torch.tensor([0, 0, 1])
    state = scorer.extend(scorer.start(items), items, torch.tensor([1, 2, 2]))
    following, end = scorer.following(state, items)
    assert torch.allclose(following[:, 1:].exp().sum(1) + end.exp(), torch.ones(3, dtype=torch.float64), atol=1e-5)


def test_nothing_is_left_to_say_when_the_sound_is_over(posteriors):
    scorer = PrefixScorer(posteriors)
    item = torch.tensor([2])
    state = scorer.extend(scorer.start(item), item, torch.tensor([1]))
    following, end = scorer.following(state, item)
    assert following[0, 1:].max() == float("-inf") and end.item() == pytest.approx(0)


def test_who_says_more_than_there_is_sound_for_may_only_end(posteriors):
    scorer = PrefixScorer(posteriors)
    item = torch.tensor([2])
    state = scorer.start(item)
    for _ in range(3):
        state = scorer.extend(state, item, torch.tensor([1]))
    following, end = scorer.following(state, item)
    assert following.max() == float("-inf") and end.item() == 0


def test_a_token_without_a_column_is_passed_over(posteriors):
    scorer = PrefixScorer(posteriors)
    items = torch.tensor([0, 1])
    state = scorer.extend(scorer.start(items), items, torch.tensor([1, 2]))
    same = scorer.extend(state, items, torch.tensor([0, 3]))
    assert torch.equal(same.token[0], state.token[0]) and same.last.tolist() == [1, 3]


TOKENS, OPENINGS = torch.tensor([9, 3, 4, 5]), torch.tensor([9, 13, 14, ~15])
END = 2


def processor(posteriors, **options):
    return JointDecoding(posteriors, TOKENS, OPENINGS, [END], **options)


def language_model(rows, vocabulary=16, seed=0):
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed))


def test_the_end_and_the_words_get_both_models_probabilities(posteriors):
    scores = language_model(1)
    made = processor(posteriors[:1], weight=0.3, forced=True)(torch.zeros(1, 0, dtype=torch.long), scores)
    scorer = PrefixScorer(posteriors[:1])
    following, end = scorer.following(scorer.start(torch.tensor([0])), torch.tensor([0]))
    spoken = scores.log_softmax(-1)
    spoken[0, 5] = spoken[0, 15]  # a word of several pieces is as likely as the first of them
    for token, heard in ((13, following[0, 1]), (14, following[0, 2]), (5, following[0, 3]), (END, end[0]), (7, FLOOR)):
        assert made[0, token].item() == pytest.approx(0.7 * spoken[0, token].item() + 0.3 * float(heard), abs=1e-4)


def test_hypotheses_that_change_places_keep_their_scores(posteriors):
    beams = processor(posteriors[:2], forced=True)
    beams(torch.zeros(4, 0, dtype=torch.long), language_model(4))
    beams(torch.tensor([[13], [14], [14], [13]]), language_model(4))
    ids = torch.tensor([[14, 4], [14, 3], [13, 5], [14, 9]])  # each item's beams swapped, one taken twice
    scores = language_model(4, seed=5)
    made = beams(ids, scores)
    for row, item in ((0, 0), (1, 0), (2, 1), (3, 1)):
        alone = processor([posteriors[item]], forced=True)(ids[row : row + 1], scores[row : row + 1])
        assert torch.allclose(made[row], alone[0], atol=1e-4)


def test_items_in_a_batch_get_what_they_would_get_alone(posteriors):
    given = [posteriors[0], None, posteriors[1], posteriors[0][:0]]
    batch = processor(given, forced=True)
    ids, scores = torch.zeros(4, 0, dtype=torch.long), language_model(4)
    made = batch(ids, scores)
    assert torch.equal(made[1], scores[1]) and torch.equal(made[3], scores[3])
    assert batch.used == [True, False, True, False]
    for row in (0, 2):
        alone = processor([given[row]], forced=True)(ids[:1], scores[row : row + 1])
        assert torch.allclose(made[row], alone[0], atol=1e-5)


def test_finished_rows_are_left_alone(posteriors):
    both = processor([posteriors[0], posteriors[1]], forced=True)
    both(torch.zeros(2, 0, dtype=torch.long), language_model(2))
    scores = language_model(2)
    made = both(torch.tensor([[END], [13]]), scores)
    assert torch.equal(made[0], scores[0]) and not torch.equal(made[1], scores[1])


def test_an_answer_that_ctc_did_not_hear_is_the_language_model_s_own(posteriors):
    silent = torch.full((4, 4), -20.0)
    silent[:, 0] = 0.0
    silent = silent.log_softmax(-1)
    scores = torch.zeros(1, 16)
    scores[0, 7] = 12.0  # "Nobody"
    refusal = processor([silent])
    assert torch.allclose(refusal(torch.zeros(1, 0, dtype=torch.long), scores), scores.log_softmax(-1), atol=1e-6)
    assert refusal.used == [False]
    later = language_model(1)
    assert torch.equal(refusal(torch.tensor([[7]]), later), later)
    assert processor([silent], forced=True)(torch.zeros(1, 0, dtype=torch.long), scores).argmax() != 7


def test_a_sure_piece_of_a_word_that_ctc_heard_is_no_disagreement():
    heard = torch.full((4, 4), -9.0)
    heard[:, 0], heard[1, 3] = 0.0, 9.0
    heard = heard.log_softmax(-1)
    scores = torch.zeros(1, 16)
    scores[0, 15] = 12.0
    joint = processor([heard])
    assert joint(torch.zeros(1, 0, dtype=torch.long), scores).argmax() == 5 and joint.used == [True]


def test_where_ctc_hears_no_words_the_language_model_answers_also_unsure():
    silent = torch.full((4, 4), -20.0)
    silent[:, 0] = 0.0
    scores = language_model(1)
    joint = processor([silent.log_softmax(-1)])
    assert torch.allclose(joint(torch.zeros(1, 0, dtype=torch.long), scores), scores.log_softmax(-1), atol=1e-6)
    assert joint.used == [False]
