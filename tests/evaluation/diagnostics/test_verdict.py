"""The verdict follows the scores, in the direction of the metric, and doubts what it must."""

from dataclasses import replace

import pytest

from cvrl.data.perturbations import Perturbation
from cvrl.evaluation.card import Result, Row, example_card
from cvrl.evaluation.diagnostics.verdict import verdicts


def scored(
    show: Perturbation,
    share: float | None,
    *,
    key: str = "top1",
    chance: float | None = 0.1,
    videos: int = 1000,
    taught: Perturbation | None = None,
) -> Result:
    card = replace(
        example_card(), show=show, train_show=taught or show, n_listed=videos, n_scored=videos
    )
    return Result(card, [Row("trained", {key: share}), Row("chance", {key: chance})])


@pytest.mark.parametrize(
    ("still", "words"),
    [
        (
            0.85,
            "one frame repeated keeps 94 % of what is above chance: the score rests mostly on a",
        ),
        (0.60, "keeps 62 % of what is above chance: the score rests both on appearance and"),
        (0.20, "keeps 12 % of what is above chance: the score rests mostly on motion"),
    ],
)
def test_what_is_left_without_motion_decides(still: float, words: str) -> None:
    (line,) = verdicts([scored("plain", 0.9), scored("still", still)])
    assert line.startswith("verdict (knn top-1 %): ") and words in line


def test_the_lower_of_still_and_shuffled_counts() -> None:
    results = [scored("plain", 0.9), scored("still", 0.9), scored("shuffled", 0.2)]
    assert "mostly on motion" in verdicts(results)[0]


def test_an_error_is_better_where_it_is_lower() -> None:
    error = {"key": "alignment_error", "chance": 0.5}
    (line,) = verdicts([scored("plain", 0.1, **error), scored("still", 0.45, **error)])
    assert "one frame repeated keeps 12 %" in line and "mostly on motion" in line
    (line,) = verdicts([scored("plain", 0.6, **error), scored("still", 0.6, **error)])
    assert "none, since the plain score cannot be told from chance" in line


def test_few_videos_leave_doubt() -> None:
    (line,) = verdicts([scored("plain", 0.6, videos=12), scored("still", 0.4, videos=12)])
    assert line.endswith("(not certain with 12 videos)")


def test_a_score_without_chance_has_no_verdict() -> None:
    (line,) = verdicts([scored("plain", 0.6, chance=None), scored("still", 0.6, chance=None)])
    assert line == "verdict (knn): none, since chance is not known for its score"


def test_nothing_is_said_without_the_shows_it_needs() -> None:
    assert verdicts([scored("plain", 0.6), scored("background_blurred", 0.3)]) == []
    taught_plain = scored("still", 0.3, taught="plain")
    assert verdicts([scored("plain", 0.6), taught_plain]) == []
