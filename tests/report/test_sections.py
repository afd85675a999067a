"""Sections of the page: what each shows, and that it is empty without anything to show."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from cvrl.evaluation.card import Result, Row, example_card
from cvrl.report import sections
from cvrl.report.comparison import Comparison, knn_scores
from cvrl.report.headline import headline
from cvrl.report.neighbours import find_neighbours
from cvrl.report.run_summary import RunSummary
from cvrl.report.sections import Content, Section
from cvrl.report.templating import render_template
from cvrl.report.training_pairs import Pair


@pytest.fixture
def content(summary: RunSummary, comparison: Comparison) -> Content:
    return Content(summary, comparison, find_neighbours(comparison, shown=2, k=3), pairs=[], k=5)


@pytest.fixture
def bare(summary: RunSummary, unlabelled: Comparison) -> Content:
    """A run without labels, evaluations or a log."""
    nothing = replace(summary, results=[], metrics=[], quarantined=[], environment="")
    return Content(nothing, unlabelled, find_neighbours(unlabelled, shown=2, k=3), pairs=[])


def html(name: str, values: Section) -> str:
    return render_template(f"{name}.html.j2", section=values)


def text(markup: str) -> str:
    """What a reader sees, without tags and drawings."""
    without = re.sub(r"<(svg|style).*?</\1>", "", markup, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without)).split())


def with_results(content: Content, *results: Result) -> Content:
    return replace(content, run=replace(content.run, results=list(results)))


def lead(*results: Result) -> str:
    """The text at the top of the page."""
    values = {
        "headline": headline(results[0]) if results else "",
        "bars": sections.main_scores(results[0])[1] if results else {},
    }
    return text(render_template("page.html.j2", name="demo", sections=[], **values))


def result(protocol: str = "knn", **scores: float) -> Result:
    key = "r1" if protocol == "instance" else "top1"
    rows = [Row(name, {key: share}) for name, share in scores.items()]
    return Result(replace(example_card(), protocol=protocol), rows)


def test_the_lead_states_the_main_score() -> None:
    found = lead(result(trained=0.456, untrained=0.131, chance=0.125))
    assert "46 % of 8 held-out videos are classified correctly by kNN" in found
    assert "(random init: 13 %)" in found
    assert "trained 45.6 % random init 13.1 % chance 12.5 %" in found


def test_the_lead_does_not_hide_a_failure() -> None:
    found = lead(result(trained=0.1, untrained=0.3, chance=0.125))
    assert "10 % of 8" in found and "(random init: 30 %)" in found
    assert "random init 30.0 % chance 12.5 % trained 10.0 %" in found, "the best row comes first"


def test_a_warning_is_seen_without_unfolding_the_card(content: Content) -> None:
    low = result(trained=0.1, hog_mbh=0.3, chance=0.125)
    low = replace(low, card=replace(low.card, notes=["WARNING: below hog_mbh <1>"]))
    shown = html("results", sections.results(with_results(content, low)))
    seen = re.sub(r"<details>.*?</details>", "", shown, flags=re.S)
    assert '<p class="warning">WARNING: below hog_mbh &lt;1&gt;</p>' in seen


def test_the_lead_without_labels_and_without_results() -> None:
    found = lead(result("instance", trained=0.5, chance=0.01))
    assert "50 % of clips retrieve the other clip of their own video among 8 videos" in found
    assert "Not evaluated yet. Run tools/evaluate.py" in lead()


def test_the_lead_of_an_error_says_that_lower_is_better() -> None:
    rows = [Row("untrained", {"alignment_error": 0.4}), Row("trained", {"alignment_error": 0.29})]
    found = Result(replace(example_card(), protocol="alignment"), rows[::-1])
    assert "Alignment error: 29 % on 8 videos (lower is better; random init: 40 %)" in lead(found)
    title, scores = sections.main_scores(replace(found, rows=rows))
    assert title.endswith("alignment error % (lower is better)")
    assert list(scores) == ["trained", "untrained"]


def test_an_unknown_protocol_is_shown_too(content: Content) -> None:
    later = result("finetune", trained=0.5)
    assert "Top-1: 50 % on 8 videos (higher is better)" in lead(later)
    shown = html("results", sections.results(with_results(content, later)))
    assert "finetune" in text(shown)


def test_scores_that_a_row_lacks_are_left_out() -> None:
    rows = [Row("chance", {"top1": None}), Row("trained", {"top1": 0.5, "top5": None})]
    title, scores = sections.main_scores(Result(example_card(), rows))
    assert title == "kNN top-1 %" and scores == {"trained": 0.5}


def test_every_result_has_its_table_and_its_card(content: Content) -> None:
    assert sections.results(with_results(content)) == {}
    shown = text(html("results", sections.results(content)))
    assert "trained 75.0 -" in shown and "random init 50.0 -" in shown
    assert "Protocol card" in shown and "temperature 0.07" in shown


def test_still_clips_are_scored_on_the_page(content: Content) -> None:
    values = sections.perturbations(content)
    titles = ["trained, as it runs", "trained, one frame repeated"]
    for name, title, row in zip(("trained", "still"), titles, values["rows"], strict=True):
        top1 = 100 * knn_scores(content.comparison, name, k=5).top1
        assert row[:2] == [title, f"{top1:.1f}"]
    shown = html("perturbations", values)
    assert "4 test videos, 8 training videos" in text(shown)
    assert "kNN predictions" in shown


def test_stored_results_under_perturbations_are_shown(content: Content) -> None:
    plain = result(trained=0.75, untrained=0.5)
    card = replace(plain.card, show="still", train_show="still")
    still = Result(card, [Row("trained", {"top1": 0.6})])
    assert sections.perturbations(replace(content, perturbed=[plain, still]))["rows"] == [
        ["trained, as it runs", "75.0"],
        ["trained, one frame repeated", "60.0"],
        ["random init, as it runs", "50.0"],
    ]


def test_perturbations_need_labels(bare: Content) -> None:
    assert sections.perturbations(bare) == {}


def test_many_classes_have_no_confusion_matrix(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "MAX_CLASSES", 1)
    assert sections.perturbations(content)["confusion"] == ""


def test_neighbours_are_marked_right_or_wrong(content: Content) -> None:
    page = html("neighbours", sections.neighbours(content))
    hood = content.neighbourhood
    assert page.count("data:image/webp;base64") == 2 * (1 + 2 * 3)
    hits = [hit for s in hood.searches for found in s.found.values() for hit in found]
    assert page.count('class="right"') == sum(hit.right for hit in hits)
    assert page.count('class="wrong"') == sum(not hit.right for hit in hits)
    share = 100 * hood.share_right["trained"]
    assert f"query's class: {share:.1f} % trained" in text(page)
    assert "drawn at random" in text(page)


def test_without_labels_neighbours_are_judged_by_their_video(bare: Content) -> None:
    shown = text(html("neighbours", sections.neighbours(bare)))
    assert "find the other clip of their own video among the 3 nearest" in shown
    assert "mean over all 12 queries" in shown


def test_no_searches_no_section(content: Content) -> None:
    hood = replace(content.neighbourhood, searches=[])
    assert sections.neighbours(replace(content, neighbourhood=hood)) == {}


def test_the_map_has_a_legend_if_there_are_labels(content: Content, bare: Content) -> None:
    shown = html("map", sections.feature_map(content))
    assert "PCA of the features of 4 test videos" in text(shown)
    assert shown.count("<svg") == 2
    assert "down right" in text(shown)
    assert 'class="legend"' not in html("map", sections.feature_map(bare))


def test_one_video_makes_no_map(content: Content) -> None:
    one = replace(content.comparison, test=content.comparison.test.take([0]))
    assert sections.feature_map(replace(content, comparison=one)) == {}


def test_every_logged_quantity_has_its_curve(content: Content) -> None:
    shown = html("training", sections.curves(content))
    # loss, kNN, embedding std, learning rate, speed
    assert shown.count("<svg") == 5
    assert "10 steps in 0.1 minutes" in text(shown)
    unknown = replace(content, run=replace(content.run, clips_per_step=0))
    assert text(html("training", sections.curves(unknown))).startswith("10 steps.")


def test_nothing_logged_no_curves(bare: Content) -> None:
    assert sections.curves(bare) == {}


def test_training_clips_are_shown_side_by_side(content: Content) -> None:
    pair = Pair("hop <1>, from 0.0 s and 1.0 s", np.zeros((2, 3, 8, 8, 3), np.uint8))
    shown = html("clips", sections.pairs(replace(content, pairs=[pair, pair])))
    assert shown.count("data:image/webp") == 4
    assert "hop &lt;1&gt;" in shown and "hop <1>" not in shown
    assert sections.pairs(content) == {}


def test_data_counts_both_splits_and_names_unreadable_videos(content: Content) -> None:
    shown = text(html("data", sections.data(content)))
    assert "train 8 8 2" in shown and "test 4 4 2" in shown
    assert "down 4 2" in shown and "right 4 2" in shown
    assert "1 unreadable, left out of training" in shown
    assert "bad <1>.mp4 no video stream" in shown


def test_data_without_labels(bare: Content) -> None:
    shown = text(html("data", sections.data(bare)))
    assert "test 12 12 -" in shown
    assert "All training videos could be read" in shown and "by class" not in shown


def test_the_run_can_be_repeated(content: Content, bare: Content) -> None:
    shown = text(html("reproduce", sections.reproduce(content)))
    assert "python tools/train_net.py" in shown and "torch 2.x" in shown
    assert "Environment" not in html("reproduce", sections.reproduce(bare))
