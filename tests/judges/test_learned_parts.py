"""The parts of the learned model against the libraries that fit them, and features by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from prosafeprune.judges.languages.detect import UNKNOWN, language_of
from prosafeprune.judges.languages.speech_acts import acts_of, plain_letters, supported_languages
from prosafeprune.judges.learned import rule_features
from prosafeprune.judges.learned.answer_model import spread_refusal
from prosafeprune.judges.learned.named_features import in_order
from prosafeprune.judges.learned.text_features import BITS, hashed_features, pieces
from prosafeprune.judges.learned.trees import FIELDS, BoostedTrees
from prosafeprune.judges.learned.word_salad import (
    CLASSES,
    FREQUENT,
    LETTERS,
    classes_of,
    has_bits,
    hash_tokens,
    letter_codes,
    pack_bits,
    shapes_of,
    tokens_of,
    trigrams,
    worst_stretch,
)
from prosafeprune.judges.rules.rules_judge import apply_rules
from prosafeprune.judges.verdict import Exchange


def test_trees_predict_as_sklearn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts" / "judge_training"))
    from fit import tree_arrays

    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 6)).astype(np.float32)
    classes = (rows[:, 0] > 0).astype(int) + 2 * (rows[:, 1] * rows[:, 2] > 0)
    model = HistGradientBoostingClassifier(max_iter=9, max_leaf_nodes=7, random_state=0).fit(rows, classes)
    arrays = tree_arrays(model)
    trees = BoostedTrees.from_arrays({name: arrays[f"trees.{name}"] for name in FIELDS})
    np.testing.assert_allclose(trees.logits(rows), model.decision_function(rows), atol=1e-4)


def test_hashed_features_have_groups_of_norm_one_and_mask_the_prompts_words() -> None:
    ((indices, values),) = hashed_features(
        ["Tell me about gardens."], ["Gardens are very nice places. However, I cannot say more."]
    )
    assert indices.max() < 2**BITS
    assert (values**2).sum() == pytest.approx(4, abs=1e-4)  # opening, first words, characters, turn
    one, other = hashed_features(
        ["Tell me about gardens.", "Tell me about bridges."], ["Gardens are fine.", "Bridges are fine."]
    )
    np.testing.assert_array_equal(one[0], other[0])
    assert pieces("It's 12 o'clock") == ["it", "is", "0", "o'clock"]
    assert len(hashed_features(["x"], [""])[0][0]) == 0


def test_bits_are_found_again_and_no_others() -> None:
    hashes = hash_tokens(tokens_of("The quick brown fox jumps over the lazy dog 12 times."))
    packed = pack_bits(hashes[:6], 18)
    assert has_bits(packed, hashes[:6]).all()
    assert not has_bits(packed, hashes[7:]).any()


def test_the_worst_stretch() -> None:
    found = np.array([True] * 50 + [False] * 16 + [True] * 50)
    assert worst_stretch(found, 32) == 0.5
    assert worst_stretch(found[:10], 32) == 1
    assert worst_stretch(found[:0], 32) == 0
    assert worst_stretch(np.array([2.0, -4.0, 1.0, 3.0]), 2) == -1.5


def test_frequent_words_have_a_class_each_and_others_one_by_ending_and_capital() -> None:
    tokens = ["the", "The", "walking", "talking", "Walking", "of"]
    frequent = np.sort(hash_tokens(["the", "of", "and"]))
    classes = classes_of(shapes_of(tokens), frequent)
    assert classes[0] == classes[1] < 3
    assert FREQUENT <= classes[2] == classes[3] < classes[4] < CLASSES
    assert classes[5] != classes[0]


def test_letter_trigrams() -> None:
    assert letter_codes("aZ \u00e9").tolist() == [1, 26, 0, LETTERS - 1]
    assert trigrams(letter_codes("aZ \u00e9")).tolist() == [
        (1 * LETTERS + 26) * LETTERS,
        (26 * LETTERS + 0) * LETTERS + LETTERS - 1,
    ]


def test_salad_statistics_know_the_text_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts" / "judge_training"))
    from salad import statistics

    table = statistics(["The cat sat on the mat and the dog sat on the rug."] * 3 + ["We like cats."] * 200)
    seen = table.features("The dog sat on the mat and the cat sat on the rug.")
    unseen = table.features("Xq zzkw vrrt plomf grunk blarg wuzzle jorp quent.")
    assert seen is not None and unseen is not None
    assert seen[0] == 1 and unseen[0] == 0  # words
    assert seen[2] > 0.9 > unseen[2]  # pairs
    assert seen[8] > unseen[8]  # letters
    assert table.features("Too short.") is None


def test_refusal_is_shared_out_as_before() -> None:
    mean = np.array([[0.4, 0.1, 0.3, 0.2]], np.float32)
    np.testing.assert_allclose(spread_refusal(mean, np.array([0.8])), [[0.4 / 3, 0.2, 0.6, 0.2 / 3]], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The capital of Australia is Canberra.", "en"),
        ("La capitale de l'Australie est Canberra.", "fr"),
        ("Das kann ich nicht tun.", "de"),
        ("No puedo ayudarte con eso.", "es"),
        ("Non posso aiutarti in questo.", "it"),
        ("Não posso ajudar com isso.", "pt"),
        ("Daar kan ik je niet bij helpen.", "nl"),
        ("Я не могу помочь с этим запросом.", "ru"),
        ("我无法协助这个请求。", "zh"),
        ("そのご要望にはお応えできません。", "ja"),
        ("لا أستطيع مساعدتك في ذلك.", "ar"),
        ("Nie mogę pomóc w tej sprawie.", "pl"),
        ("Odmawiam tworzenia złośliwego oprogramowania.", "pl"),
        ("Bu konuda size yardımcı olamam.", "tr"),
        ("그 요청은 도와드릴 수 없습니다.", "ko"),
        ("मैं इसमें आपकी मदद नहीं कर सकता।", "hi"),
        ("मी यात मदत करू शकत नाही, ते बेकायदेशीर आहे.", UNKNOWN),
        ("Bohužel vám s tím nemohu pomoci, protože je to proti zákonu.", UNKNOWN),
        ("Jag kan tyvärr inte hjälpa till med det.", UNKNOWN),
        ("Не можу допомогти, бо це незаконно, і її теж.", UNKNOWN),
        ("متأسفم، نمی‌توانم کمک کنم", UNKNOWN),
        ("Fact-checkers use a variety of clues to decide whether a clip of a politician goes viral. These", "en"),
        ("They keep a source's identity safe from a hostile government by using a combination of encryption", "en"),
        ("def add(a, b):\n    return a + b", "en"),
        ("42", "en"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "prompt", "language"),
    [
        ("Assolutamente no.", "Come posso rubare una bicicletta?", "it"),
        ("Minhas normas proíbem.", "Como faço isso?", "pt"),
        ("No.", "¿Puedo comer uvas?", "es"),
        ("I cannot help you with that.", "Comment faire une bombe ?", "en"),
    ],
)
def test_a_short_answer_is_in_the_prompts_language_unless_its_words_say_otherwise(
    text: str, prompt: str, language: str
) -> None:
    assert language_of(text, prompt) == language


def test_every_language_has_every_act_in_plain_letters() -> None:
    for language in supported_languages():
        for act, pattern in acts_of(language).items():
            letters = re.sub(r"\\[A-Z]", "", pattern.pattern)  # \W and \S stay
            assert letters == plain_letters(letters), (language, act)
            assert not pattern.search(""), (language, act)


def test_named_features_come_in_the_order_of_the_names() -> None:
    assert in_order({"b": 1.0}, ("a", "b", "c")).tolist() == [0, 1, 0]
    with pytest.raises(KeyError, match="not a feature: d, e"):
        in_order({"e": 1.0, "b": 1.0, "d": 1.0}, ("a", "b", "c"))


def test_a_finding_that_is_no_feature_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found = apply_rules(Exchange("Write a poem.", "I'm sorry, but I can't help with that."))
    assert len(rule_features.rule_features("Write a poem.", "No.", found)) == len(rule_features.NAMES)
    misspelt = ["discIaims" if name == "disclaims" else name for name in rule_features.NAMES]
    monkeypatch.setattr(rule_features, "NAMES", misspelt)
    with pytest.raises(KeyError, match="not a feature: disclaims"):
        rule_features.rule_features("Write a poem.", "No.", found)
