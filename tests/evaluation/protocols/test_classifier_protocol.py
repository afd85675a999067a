"""A classifier's answers are scored in one way, whoever took its views."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import make_manifest
from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.card import Result, card_lines
from cvrl.evaluation.evaluate import Options, evaluate, suitable_protocols
from cvrl.evaluation.features.extraction import extract_features
from cvrl.evaluation.prediction.multiview import evaluate_classifier
from cvrl.evaluation.prediction.predictions import Predictions
from cvrl.evaluation.protocols.classifier_protocol import check_classifier, score_answers, truth_of
from cvrl.models.backbones import build_encoder
from cvrl.models.classifier import Classifier
from cvrl.models.heads import ClassHead
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError


@pytest.fixture(scope="module")
def parts(video_folder: Path) -> Parts:
    return read_splits(str(video_folder), hold_out=0.34, seed=0)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Its classes stand in another order than those of the list."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = build_encoder("r3d_small", width=2)
        head = ClassHead(encoder.dim, ["right", "down", "up"], dropout=0.5)
        with torch.no_grad():
            head.weight.mul_(30)  # answers that differ
    encoder.clip, encoder.size, encoder.preprocess = ClipSpec(8, 2), 32, recipes.evaluation(32)
    return Classifier(encoder, head).eval()


def answers_of(classifier: Classifier, parts: Parts, **options: object) -> list[Result]:
    how = Options(**options)  # type: ignore[arg-type]
    return evaluate(classifier.encoder, parts, ["classifier"], how, head=classifier.head)


class TestProtocol:
    def test_the_mean_probability_of_the_clips_answers(
        self, classifier: Classifier, parts: Parts
    ) -> None:
        """Against a loop over videos and clips of the same encoder."""
        encoder = classifier.encoder
        assert encoder.preprocess is not None
        (result,) = answers_of(classifier, parts, clips_per_video=3)
        clips = EvalDataset(parts.test, encoder.clip, 3, encoder.preprocess)
        right = 0
        for row, label in enumerate(parts.test.label_ids):
            with torch.inference_mode():
                chances = [classifier(clip[None])[0] for clip in clips[row].clips_NCTHW]
            answer = classifier.class_names[int(torch.stack(chances).mean(dim=0).argmax())]
            right += answer == parts.test.class_names[label]
        assert result.row("trained").scores["top1"] == right / len(parts.test)

    def test_many_views_of_the_same_clips_score_the_same(
        self, classifier: Classifier, parts: Parts, tmp_path: Path
    ) -> None:
        (mine,) = answers_of(classifier, parts, clips_per_video=2)
        many, _ = evaluate_classifier([classifier], parts, clips=2, crops=1)
        assert mine.row("trained").scores == many.row("trained").scores
        accuracy = [one.row("trained").details["class_accuracy"] for one in (mine, many)]
        assert accuracy[0] == accuracy[1]
        assert mine.row("chance") == many.row("chance")
        for field in ("n_classes", "n_scored", "group_check", "stage", "untrained"):
            assert getattr(mine.card, field) == getattr(many.card, field)
        assert mine.card.weights_sha256 == many.card.weights_sha256
        files = [mine.write(tmp_path), many.write(tmp_path)]
        assert [file.name for file in files] == ["classifier_centre.json", "classifier.json"]

    def test_dropout_is_off_and_comes_back(self, classifier: Classifier, parts: Parts) -> None:
        once = answers_of(classifier, parts)
        classifier.head.train()
        again = answers_of(classifier, parts)
        assert classifier.head.training
        classifier.head.eval()
        assert once == again

    def test_beside_other_protocols_it_answers_as_alone(
        self, classifier: Classifier, parts: Parts
    ) -> None:
        (alone,) = answers_of(classifier, parts)
        both = evaluate(
            classifier.encoder, parts, ["knn", "classifier"], Options(), head=classifier.head
        )
        assert both[1] == alone
        assert [row.name for row in both[0].rows] == ["trained", "untrained", "chance"]
        assert [row.name for row in alone.rows] == ["trained", "chance"]

    def test_its_card(self, classifier: Classifier, parts: Parts) -> None:
        (result,) = answers_of(classifier, parts)
        lines = "\n".join(card_lines(result.card))
        assert "3 classes" in lines and "stage classifier" in lines
        assert "random init: no row, since a random-init network has no classifier" in lines
        assert (result.card.train, result.card.train_show) == (None, None)

    def test_a_missing_video_is_counted(
        self, classifier: Classifier, parts: Parts, tmp_path: Path
    ) -> None:
        (tmp_path / "cut.mp4").write_bytes(Path(parts.test.path(0)).read_bytes()[:800])
        paths = [str(tmp_path / "cut.mp4"), *parts.test.paths]
        names = [parts.test.class_names[i] for i in parts.test.label_ids]
        more = make_manifest({"path": paths, "label": ["up", *names]}, root="/")
        whole = answers_of(classifier, Parts(parts.test), perturbations=("plain", "still"))
        some = answers_of(
            classifier, Parts(more), perturbations=("plain", "still"), allow_missing=True
        )
        for one, other in zip(whole, some, strict=True):
            assert other.card.n_missing == 1 and other.card.n_scored == len(parts.test)
            assert one.rows == other.rows

    def test_several_classes_a_video(self, classifier: Classifier, parts: Parts) -> None:
        head = ClassHead(classifier.encoder.dim, ["down", "right"], multi_label=True).eval()
        several = Classifier(classifier.encoder, head)
        (mine,) = answers_of(several, parts, clips_per_video=2)
        many, _ = evaluate_classifier([several], parts, clips=2, crops=1)
        assert list(mine.row("trained").scores) == ["map"]
        assert mine.row("trained").scores == many.row("trained").scores

    def test_all_protocols_are_those_that_every_model_has(self, parts: Parts) -> None:
        assert "classifier" not in suitable_protocols(parts, ["all"])
        assert suitable_protocols(parts, ["classifier"]) == ["classifier"]


class TestTruth:
    videos = make_manifest({"path": ["a.mp4", "b.mp4"], "label": ["b", "a+b"]}, root="/")

    def test_by_name(self) -> None:
        videos = make_manifest({"path": ["a.mp4", "b.mp4"], "label": ["b", "a"]}, root="/")
        assert truth_of(videos, ["c", "b", "a"], multi_label=False).tolist() == [1, 2]

    def test_by_tag(self) -> None:
        has = truth_of(self.videos, ["b", "c", "a"], multi_label=True)
        assert has.tolist() == [[1, 0, 0], [1, 0, 1]]

    @pytest.mark.parametrize(
        ("names", "said"), [(["a"], "not trained on: a\\+b, b"), (None, "holds no classifier")]
    )
    def test_what_cannot_be_answered(self, names: list[str] | None, said: str) -> None:
        head = None if names is None else ClassHead(4, names)
        with pytest.raises(UserError, match=said):
            check_classifier(Parts(self.videos), head)

    def test_videos_without_labels(self) -> None:
        videos = make_manifest({"path": ["a.mp4"]}, root="/")
        with pytest.raises(UserError, match="no label"):
            check_classifier(Parts(videos), ClassHead(4, ["a"]))


def test_chance_is_the_best_constant_answer() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    predictions = Predictions(["x", "y"], ["a", "b", "c"], ["x", "x", "x"], shares)
    trained, chance = score_answers(predictions, torch.tensor([0, 0, 0]))
    assert trained.scores["top1"] == pytest.approx(2 / 3)
    assert chance.scores["top1"] == 1
    assert trained.details == {"class_accuracy": {"x": pytest.approx(2 / 3)}}
    several = replace(predictions, multi_label=True)
    ranked, flat = score_answers(several, torch.tensor([[1.0, 0], [0, 1], [0, 1]]))
    assert ranked.scores == {"map": 1.0}
    assert flat.scores["map"] == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_features_hold_what_is_answered_for(classifier: Classifier, parts: Parts) -> None:
    """The classifier on pooled features is the classifier on clips."""
    encoder = classifier.encoder
    assert encoder.preprocess is not None
    dataset = EvalDataset(parts.test, encoder.clip, 1, encoder.preprocess)
    features = extract_features(encoder, dataset)
    with torch.inference_mode():
        direct = classifier(dataset[0].clips_NCTHW)
        torch.testing.assert_close(classifier.head.probabilities(features.vectors_ND[:1]), direct)
