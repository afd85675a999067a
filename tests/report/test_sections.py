"""The sections of the page: what each says, and that it is empty where there is nothing to say."""

import re
from dataclasses import replace

import pytest

from cvrl.evaluation.card import Result, Row, example_card
from cvrl.report import sections
from cvrl.report.comparison import Comparison, knn_scores
from cvrl.report.neighbours import find_neighbours
from cvrl.report.run_summary import RunFacts
from cvrl.report.sections import Content
from cvrl.report.training_pairs import Pair


@pytest.fixture
def content(facts: RunFacts, comparison: Comparison) -> Content:
    return Content(facts, comparison, find_neighbours(comparison, shown=2, k=3), pairs=[], k=5)


@pytest.fixture
def bare(facts: RunFacts, unlabelled: Comparison) -> Content:
    """A run without labels, evaluations or a log."""
    nothing = replace(facts, results=[], metrics=[], quarantined=[], environment="")
    return Content(nothing, unlabelled, find_neighbours(unlabelled, shown=2, k=3), pairs=[])


def text(parts: list[str]) -> str:
    """What a reader sees, without tags and drawings."""
    without = re.sub(r"<svg.*?</svg>", "", "".join(parts), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", without).split())


def result(protocol: str = "knn", **scores: float) -> Result:
    key = "r1" if protocol == "instance" else "top1"
    rows = [Row(name, {key: share}) for name, share in scores.items()]
    return Result(replace(example_card(), protocol=protocol), rows)


def test_the_lead_says_what_was_gained() -> None:
    lead = text([sections.lead("demo", [result(trained=0.456, untrained=0.131, chance=0.125)])])
    assert lead.startswith("demo 46 % of 8 held-out videos are classified correctly by kNN")
    assert "(random init: 13 %)" in lead
    assert lead.endswith("trained 45.6 % untrained 13.1 % chance 12.5 %")


def test_the_lead_does_not_hide_a_failure() -> None:
    lead = text([sections.lead("demo", [result(trained=0.1, untrained=0.3, chance=0.125)])])
    assert "10 % of 8" in lead and "(random init: 30 %)" in lead


def test_a_warning_is_seen_without_unfolding_the_card() -> None:
    low = result(trained=0.1, hog_mbh=0.3, chance=0.125)
    low = replace(low, card=replace(low.card, notes=["WARNING: below hog_mbh <1>"]))
    shown = "".join(sections.results([low]))
    seen = re.sub(r"<details>.*?</details>", "", shown, flags=re.S)
    assert '<p class="warning">WARNING: below hog_mbh &lt;1&gt;</p>' in seen


def test_the_lead_without_labels_and_without_results() -> None:
    lead = text([sections.lead("demo", [result("instance", trained=0.5, chance=0.01)])])
    assert "50 % of clips retrieve the other clip of their own video among 8 videos" in lead
    assert "not evaluated yet: run tools/evaluate.py" in sections.lead("demo", [])


def test_the_lead_of_an_error_says_that_lower_is_better() -> None:
    rows = [Row("trained", {"alignment_error": 0.29}), Row("untrained", {"alignment_error": 0.4})]
    found = Result(replace(example_card(), protocol="alignment"), rows)
    lead = text([sections.lead("x", [found])])
    assert "Alignment error: 29 % on 8 videos (lower is better; random init: 40 %)" in lead
    assert sections.main_scores(found)[0].endswith("alignment error % (lower is better)")


def test_a_protocol_of_a_later_day_is_shown_too() -> None:
    later = result("finetune", trained=0.5)
    assert "Top-1: 50 % on 8 videos (higher is better)" in text([sections.lead("x", [later])])
    assert "finetune" in text(sections.results([later]))


def test_scores_that_a_row_lacks_are_left_out() -> None:
    rows = [Row("trained", {"top1": 0.5, "top5": None}), Row("chance", {"top1": None})]
    title, scores = sections.main_scores(Result(example_card(), rows))
    assert title == "kNN top-1 %" and scores == {"trained": 0.5}


def test_every_result_has_its_table_and_its_card(facts: RunFacts) -> None:
    assert sections.results([]) == []
    shown = sections.results(facts.results)
    assert "trained 75.0 -" in text(shown) and "chance 50.0 -" in text(shown)
    assert "protocol card" in text(shown) and "temperature 0.07" in text(shown)


def test_motion_holds_moving_clips_against_still_ones(content: Content) -> None:
    shown = text(sections.motion(content))
    for name, title in sections.ROW_TITLES.items():
        top1 = 100 * knn_scores(content.comparison, name, k=5).top1
        assert f"{title} {top1:.1f}" in shown
    assert "4 videos search among 8" in shown
    assert "kNN answers" in sections.motion(content)[-1]


def test_there_is_no_such_section_without_labels(bare: Content) -> None:
    assert sections.motion(bare) == []


def test_many_classes_make_no_table_of_confusions(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "MOST_CLASSES", 1)
    assert sections.motion(content)[-1] == ""


def test_neighbours_move_and_are_judged(content: Content) -> None:
    parts = sections.neighbours(content)
    page = "".join(parts)
    hood = content.neighbourhood
    assert page.count("data:image/webp;base64") == 2 * (1 + 2 * 3)
    hits = [hit for s in hood.searches for found in s.found.values() for hit in found]
    assert page.count('class="right"') == sum(hit.right for hit in hits)
    assert page.count('class="wrong"') == sum(not hit.right for hit in hits)
    share = 100 * hood.share_right["trained"]
    assert f"Of the 3 nearest training videos, {share:.1f} % are of the query" in text(parts)
    assert "drawn at random" in text(parts)


def test_without_labels_neighbours_are_judged_by_their_video(bare: Content) -> None:
    shown = text(sections.neighbours(bare))
    assert "own video's other clip among the 3 nearest" in shown.replace("&#x27;", "'")
    assert "mean over all 12 queries" in shown


def test_no_searches_no_section(content: Content) -> None:
    hood = replace(content.neighbourhood, searches=[])
    assert sections.neighbours(replace(content, neighbourhood=hood)) == []


def test_the_map_has_a_legend_where_there_are_labels(content: Content, bare: Content) -> None:
    shown = sections.feature_map(content)
    assert "PCA of the features of 4 test videos" in text(shown)
    assert shown[1].count("<svg") == 2
    assert "down right" in text(shown)
    assert 'class="legend"' not in "".join(sections.feature_map(bare))


def test_one_video_makes_no_map(content: Content) -> None:
    one = replace(content.comparison, test=content.comparison.test.take([0]))
    assert sections.feature_map(replace(content, comparison=one)) == []


def test_every_logged_quantity_has_its_curve(facts: RunFacts) -> None:
    shown = sections.curves(facts)
    # loss, kNN, embedding std, learning rate, speed
    assert "".join(shown).count("<svg") == 5
    assert "10 steps in 0.1 minutes" in text(shown)
    unknown = replace(facts, clips_per_step=0)
    assert text(sections.curves(unknown)).startswith("10 steps.")


def test_nothing_logged_no_curves(bare: Content) -> None:
    assert sections.curves(bare.facts) == []


def test_pairs_are_shown_side_by_side() -> None:
    import numpy as np

    pair = Pair("hop <1>, from 0.0 s and 1.0 s", np.zeros((2, 3, 8, 8, 3), np.uint8))
    shown = "".join(sections.pairs([pair, pair]))
    assert shown.count("data:image/webp") == 4
    assert "hop &lt;1&gt;" in shown and "hop <1>" not in shown
    assert sections.pairs([]) == []


def test_data_counts_both_parts_and_names_what_was_left_out(content: Content) -> None:
    shown = text(sections.data(content))
    assert "train 8 8 2" in shown and "test 4 4 2" in shown
    assert "down 4 2" in shown and "right 4 2" in shown
    assert "1 left out of training as unreadable" in shown
    assert "bad &lt;1&gt;.mp4 no video stream" in shown


def test_data_without_labels(bare: Content) -> None:
    shown = text(sections.data(bare))
    assert "test 12 12 -" in shown
    assert "No video was left out" in shown and "by class" not in shown


def test_the_run_can_be_made_again(facts: RunFacts, bare: Content) -> None:
    shown = text(sections.reproduce(facts))
    assert "python tools/train_net.py" in shown and "torch 2.x" in shown
    assert "environment" not in text(sections.reproduce(bare.facts))
