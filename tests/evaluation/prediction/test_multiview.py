"""Many views of a video against plain loops that open the file anew for every view."""

import itertools

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tvf

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import VideoReader
from cvrl.data.manifest import make_manifest, read_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import card_lines
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.prediction.multiview import answer_videos, evaluate_classifier
from cvrl.models.backbones import build_encoder
from cvrl.models.classifier import Classifier
from cvrl.models.heads import ClassHead
from cvrl.transforms import recipes
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.reader import open_video

NAMES = ["right", "up", "down"]  # not sorted, and with one that the videos do not show


def make_classifier(names=NAMES, *, clip=None, size=32, seed=0, normalise=False, multi_label=False):
    """A small random network whose answers differ a good deal from view to view."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build_encoder("r3d_small", width=2).eval()
        head = ClassHead(encoder.dim, names, multi_label=multi_label)
        torch.nn.init.normal_(head.weight, std=100)
    encoder.clip = clip or ClipSpec(frames=8, stride=2)
    encoder.size = size
    encoder.preprocess = recipes.evaluation(size, normalise=normalise)
    return Classifier(encoder, head).eval()


def view_apart(path, classifier, clip, clips, crop, crops):
    """One view, from opening the file to its probabilities, with nothing of the code under test.

    Frames are counted, clips wrap round, the file has a constant rate.
    """
    spec, S = classifier.encoder.clip, classifier.encoder.size
    with open_video(path) as video:
        L = len(video)
        last = max(L - ((spec.frames - 1) * spec.stride + 1), 0)
        start = last // 2 if clips == 1 else clip * last // (clips - 1)
        frames = [(start + spec.stride * t) % L for t in range(spec.frames)]
        pixels_THWC = video.frames(frames)
    clip_TCHW = torch.from_numpy(pixels_THWC).permute(0, 3, 1, 2)
    H, W = clip_TCHW.shape[2:]
    short = min(H, W)
    clip_TCHW = tvf.resize(clip_TCHW, [S * H // short, S * W // short], antialias=True)
    H, W = clip_TCHW.shape[2:]
    top, left = (H - S) // 2, (W - S) // 2
    if crops == 3 and W >= H:
        left = [0, left, W - S][crop]
    elif crops == 3:
        top = [0, top, H - S][crop]
    clip_CTHW = clip_TCHW[:, :, top : top + S, left : left + S].transpose(0, 1).float() / 255
    if classifier.encoder.preprocess.normalised:
        clip_CTHW = (clip_CTHW - 0.45) / 0.225
    with torch.no_grad():
        return classifier(clip_CTHW[None])[0]


def answers_apart(paths, classifier, clips, crops):
    """(V, K): each view apart, then the mean."""
    views = list(itertools.product(range(clips), range(crops)))
    return torch.stack(
        [
            torch.stack([view_apart(p, classifier, n, clips, r, crops) for n, r in views]).mean(0)
            for p in paths
        ]
    )


def changing(frames, height, width, seed):
    """Blurred noise that turns from frame to frame, so that every view is another."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(frames, height // 8, width // 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, make_video):
    """Wide, tall, square and almost square videos; the last is shorter than a clip."""
    folder = tmp_path_factory.mktemp("shapes")
    sizes = {
        "wide": (25, 40, 80),
        "tall": (31, 72, 40),
        "square": (20, 40, 40),
        "short": (7, 40, 48),
    }
    paths = {
        name: make_video(folder / f"{name}.mp4", changing(*size, seed=len(name)))
        for name, size in sizes.items()
    }
    labels = ["right", "down", "right", "down"]
    return make_manifest({"path": [str(p) for p in paths.values()], "label": labels}, root="/")


class Counter(VideoReader):
    """Counts how often files are opened, and the frames asked of each."""

    opened: list = []  # noqa: RUF012 - shared on purpose, emptied by the fixture

    def open(self, path, spec=None):
        video = super().open(path, spec)
        asked = []
        self.opened.append((path, asked))
        read = video.frames
        video.frames = lambda indices: (asked.append(list(indices)), read(indices))[1]
        return video


@pytest.fixture
def counter():
    Counter.opened.clear()
    return Counter()


class TestAgainstViewsApart:
    @pytest.mark.parametrize(("clips", "crops"), [(1, 1), (1, 3), (2, 1), (4, 3)])
    def test_the_answer_is_the_mean_over_views_decoded_apart(self, shapes, clips, crops):
        classifier = make_classifier(normalise=clips == 4)
        _, predictions = evaluate_classifier([classifier], Parts(shapes), clips=clips, crops=crops)
        expected = answers_apart(shapes.paths, classifier, clips, crops)
        torch.testing.assert_close(predictions.probability_VK, expected, atol=1e-4, rtol=0)
        assert (expected[0] - expected[1]).abs().max() > 0.01  # else nothing was compared

    def test_views_differ_and_count_alike(self, shapes):
        """Leaving out any view changes the answer by more than the tolerance above."""
        classifier = make_classifier()
        views = [
            view_apart(shapes.path(0), classifier, n, 3, r, 3) for n in range(3) for r in range(3)
        ]
        mean = torch.stack(views).mean(0)
        for k in range(9):
            without = torch.stack(views[:k] + views[k + 1 :]).mean(0)
            assert (without - mean).abs().max() > 1e-3

    @pytest.mark.parametrize("how", [{"batch_videos": 3}, {"workers": 2}, {"batch_videos": 9}])
    def test_batches_and_workers_change_nothing(self, shapes, how):
        classifier, parts = make_classifier(), Parts(shapes)
        _, alone = evaluate_classifier([classifier], parts, clips=3)
        _, other = evaluate_classifier([classifier], parts, clips=3, **how)
        torch.testing.assert_close(alone.probability_VK, other.probability_VK, atol=1e-5, rtol=0)
        assert alone.paths == other.paths == shapes.paths

    def test_ticks_in_time_and_held_frames(self, shapes):
        """Half the rate is twice the stride; a held last frame is not a loop."""
        in_time = make_classifier(clip=ClipSpec(8, 1, fps=12.5))
        in_frames = make_classifier(clip=ClipSpec(8, 2))
        odd = Parts(shapes.take([0, 1]))  # of even videos the last tick is not the last frame
        by_time, by_frame = (
            evaluate_classifier([c], odd, clips=2)[1] for c in (in_time, in_frames)
        )
        assert torch.equal(by_time.probability_VK, by_frame.probability_VK)
        loop = make_classifier(clip=ClipSpec(8, 2))
        held = make_classifier(clip=ClipSpec(8, 2, "repeat"))
        found = [evaluate_classifier([c], Parts(shapes), clips=1)[1] for c in (loop, held)]
        same = (found[0].probability_VK - found[1].probability_VK).abs().amax(dim=1) == 0
        assert same.tolist() == [True, True, True, False]


class TestOneDecode:
    def test_each_video_is_opened_and_read_once(self, shapes, counter):
        pair = [make_classifier(), make_classifier(clip=ClipSpec(9, 1), size=36, seed=1)]
        evaluate_classifier(pair, Parts(shapes), clips=5, crops=3, reader=counter)
        assert [path for path, _ in counter.opened] == shapes.paths
        for _, asked in counter.opened:
            (frames,) = asked
            assert frames == sorted(set(frames))

    def test_pieces_give_the_same_answers(self, shapes, counter, monkeypatch):
        """A budget of twelve frames: several reads, and none larger."""
        classifier = make_classifier()
        _, whole = evaluate_classifier([classifier], Parts(shapes), clips=6)
        monkeypatch.setattr("cvrl.evaluation.prediction.view_stream.PIECE_BYTES", 12 * 3 * 40 * 80)
        _, pieces = evaluate_classifier([classifier], Parts(shapes), clips=6, reader=counter)
        torch.testing.assert_close(whole.probability_VK, pieces.probability_VK, atol=1e-5, rtol=0)
        asked = counter.opened[0][1]
        assert len(asked) > 1 and max(map(len, asked)) <= 12

    def test_a_clip_larger_than_the_budget(self, shapes, counter, monkeypatch):
        monkeypatch.setattr("cvrl.evaluation.prediction.view_stream.PIECE_BYTES", 1)
        evaluate_classifier([make_classifier()], Parts(shapes), clips=3, reader=counter)
        assert [len(asked) for _, asked in counter.opened] == [3, 3, 3, 3]
        assert {len(frames) for _, asked in counter.opened for frames in asked} == {7, 8}

    def test_the_views_at_once_do_not_grow(self, shapes):
        """Neither with clips nor with crops."""
        classifier = make_classifier()
        batches = []
        classifier.encoder.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
        evaluate_classifier([classifier], Parts(shapes), clips=20, crops=3)
        assert max(batches) < 8 + 3
        assert sum(batches) == 20 * 3 * 3 + 20  # a square leaves no choice of crops


class TestEnsemble:
    def test_it_is_the_mean_of_its_members(self, shapes):
        first = make_classifier()
        second = make_classifier(sorted(NAMES), clip=ClipSpec(9, 1), size=36, seed=1)
        each = [evaluate_classifier([c], Parts(shapes), clips=3)[1] for c in (first, second)]
        order = [sorted(NAMES).index(name) for name in NAMES]
        by_hand = (each[0].probability_VK + each[1].probability_VK[:, order]) / 2
        result, both = evaluate_classifier([first, second], Parts(shapes), clips=3)
        torch.testing.assert_close(both.probability_VK, by_hand, atol=1e-5, rtol=0)
        assert both.class_names == NAMES
        assert result.card.settings["classifiers"] == 2 and len(result.card.notes) == 2
        assert "9 frames, stride 1, 36 pixels" in result.card.notes[1]

    def test_a_classifier_with_itself_is_itself(self, shapes):
        one = make_classifier()
        _, alone = evaluate_classifier([one], Parts(shapes), clips=2)
        _, twice = evaluate_classifier([one, one], Parts(shapes), clips=2)
        assert torch.equal(alone.probability_VK, twice.probability_VK)

    def test_other_classes_are_refused_by_name(self, shapes):
        pair = [make_classifier(), make_classifier(["right", "down", "jump"])]
        with pytest.raises(UserError, match=r"classifier 2: differs .* in its classes: jump, up"):
            evaluate_classifier(pair, Parts(shapes))

    def test_other_kinds_are_refused(self, shapes):
        pair = [make_classifier(), make_classifier(multi_label=True)]
        with pytest.raises(UserError, match="whether a video may have several classes"):
            evaluate_classifier(pair, Parts(shapes))

    def test_none_are_refused(self, shapes):
        with pytest.raises(UserError, match="there are none"):
            evaluate_classifier([], Parts(shapes))


class TestResult:
    def test_the_scores_are_those_of_the_answers(self, video_folder):
        videos = read_manifest(video_folder)
        result, predictions = evaluate_classifier([make_classifier()], Parts(videos), clips=2)
        truth = [path.split("/")[-2] for path in videos.paths]
        right = [a == b for a, b in zip(predictions.predicted, truth, strict=True)]
        by_class = {
            name: sum(r for r, t in zip(right, truth, strict=True) if t == name) / 6
            for name in ("down", "right")
        }
        row = result.row("trained")
        assert row.scores["top1"] == sum(right) / 12
        assert row.scores["mean_class"] == pytest.approx(sum(by_class.values()) / 2)
        assert row.scores["top5"] is None
        assert row.details["class_accuracy"] == by_class == predictions.class_accuracy()
        assert result.row("chance").scores == {"top1": 0.5, "top5": None, "mean_class": 0.5}
        assert predictions.confusion_KK().sum(axis=1).tolist() == [6, 0, 6]

    def test_the_card_says_what_was_done(self, video_folder, tmp_path):
        videos = read_manifest(video_folder)
        test, train = videos.take(range(0, 12, 2)), videos.take(range(1, 12, 2))
        parts = Parts(test, train, "the test list", "the training list")
        card = evaluate_classifier([make_classifier()], parts, clips=4, crops=3)[0].card
        assert (card.protocol, card.n_listed, card.n_scored, card.n_train) == (
            "classifier",
            6,
            6,
            6,
        )
        assert (card.clips_per_video, card.crops_per_clip, card.n_classes) == (4, 3, 3)
        assert card.group_check.startswith("no groups named")
        text = "\n".join(card_lines(card))
        assert "4 clips x 3 crops along the longer side" in text and "the training list" in text

    def test_several_labels_a_video(self, shapes):
        labels = ["down+right", "up", "right", "down + up"]
        videos = make_manifest({"path": shapes.paths, "label": labels}, root="/")
        classifier = make_classifier(multi_label=True)
        result, predictions = evaluate_classifier([classifier], Parts(videos), clips=2)
        expected = answers_apart(shapes.paths, classifier, 2, 3)
        torch.testing.assert_close(predictions.probability_VK, expected, atol=1e-4, rtol=0)
        precision = []
        for k, name in enumerate(NAMES):
            ranked = expected[:, k].argsort(descending=True).tolist()
            hits = [name in labels[v] for v in ranked]
            precision.append(
                np.mean([sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit])
            )
        assert result.row("trained").scores == {"map": pytest.approx(np.mean(precision))}
        assert result.row("chance").scores == {"map": pytest.approx(0.5)}

    def test_nothing_is_left_behind(self, shapes):
        """Modes and random generators are as before."""
        classifier = make_classifier().train()
        state = torch.get_rng_state()
        evaluate_classifier([classifier], Parts(shapes), clips=1)
        assert classifier.training and classifier.encoder.training
        assert torch.equal(state, torch.get_rng_state())


class TestRefusals:
    @pytest.fixture
    def with_a_bad_video(self, shapes, tmp_path):
        broken = tmp_path / "broken.mp4"
        broken.write_text("this is no video")
        paths = [*shapes.paths[:2], str(broken), *shapes.paths[2:]]
        return make_manifest({"path": paths, "label": ["right"] * 5}, root="/")

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_bad_video_is_named(self, with_a_bad_video, workers):
        with pytest.raises(CorruptVideoError) as caught:
            evaluate_classifier([make_classifier()], Parts(with_a_bad_video), workers=workers)
        assert caught.value.path == with_a_bad_video.path(2)

    def test_a_missing_video_is_named(self, shapes):
        videos = make_manifest(
            {"path": [*shapes.paths, "/gone.mp4"], "label": ["up"] * 5}, root="/"
        )
        with pytest.raises(CorruptVideoError, match=r"/gone.mp4: no such file"):
            evaluate_classifier([make_classifier()], Parts(videos), clips=1)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_caller_may_go_on_after_a_bad_video(self, with_a_bad_video, workers):
        how = {"name_bad": True, "workers": workers, "batch_videos": 2}
        found = list(
            answer_videos([make_classifier()], with_a_bad_video, ClipChoice(clips=2), **how)
        )
        assert sorted(answer.row for answer in found) == [0, 1, 2, 3, 4]
        bad = {answer.row: answer.bad for answer in found if answer.bad}
        assert list(bad) == [2] and bad[2]
        assert all(answer.probability_NK.shape == (2, 3) for answer in found if not answer.bad)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_missing_videos_may_be_counted(self, shapes, with_a_bad_video, workers):
        allowed = {"clips": 2, "workers": workers, "allow_missing": True}
        result, predictions = evaluate_classifier(
            [make_classifier()], Parts(with_a_bad_video), **allowed
        )
        card = result.card
        assert (card.n_listed, card.n_scored, card.n_missing) == (5, 4, 1)
        assert card.missing[0].startswith(with_a_bad_video.path(2))
        assert "1 MISSING" in card_lines(card)[0]
        assert predictions.paths == shapes.paths
        right = [answer == "right" for answer in predictions.predicted]
        assert result.row("trained").scores["top1"] == sum(right) / 4

    def test_all_missing_is_refused(self, with_a_bad_video):
        only_bad = Parts(with_a_bad_video.take([2]))
        with pytest.raises(UserError, match="none of the 1 videos can be decoded"):
            evaluate_classifier([make_classifier()], only_bad, allow_missing=True)

    def test_unknown_classes_are_named(self, shapes):
        with pytest.raises(UserError, match="not trained on: down; its 2 classes are right, left"):
            evaluate_classifier([make_classifier(["right", "left"])], Parts(shapes))

    def test_classes_that_only_the_whole_list_has_do_not_matter(self, shapes):
        only_right = Parts(shapes.take([0, 2]))
        result, _ = evaluate_classifier([make_classifier(["right", "left"])], only_right, clips=1)
        assert result.card.n_scored == 2

    def test_unlabelled_videos(self, shapes):
        videos = make_manifest({"path": shapes.paths, "label": [None] * 4}, root="/")
        with pytest.raises(UserError, match=r"4 of 4 videos have no label .*predict"):
            evaluate_classifier([make_classifier()], Parts(videos))

    def test_some_unlabelled_videos_are_counted_and_not_scored(self, shapes):
        labels = ["down", None, "right", None]
        videos = make_manifest({"path": shapes.paths, "label": labels}, root="/")
        result, predictions = evaluate_classifier([make_classifier()], Parts(videos), clips=1)
        card = result.card
        assert (card.n_listed, card.n_scored, card.n_unlabelled) == (2, 2, 2)
        assert predictions.paths == [shapes.paths[0], shapes.paths[2]]

    def test_parts_that_share_a_file(self, shapes):
        parts = Parts(shapes, shapes.take([0]))
        with pytest.raises(UserError, match="1 file is in train and test"):
            evaluate_classifier([make_classifier()], parts)
        result, _ = evaluate_classifier([make_classifier()], parts, clips=1, allow_group_leak=True)
        assert result.card.group_check.startswith("LEAK")

    def test_diverged_weights(self, shapes):
        classifier = make_classifier()
        torch.nn.init.constant_(classifier.head.bias, float("nan"))
        with pytest.raises(UserError, match="probabilities are not finite"):
            evaluate_classifier([classifier], Parts(shapes), clips=1)

    def test_no_videos(self, shapes):
        with pytest.raises(UserError, match="is empty"):
            list(answer_videos([make_classifier()], shapes.take([]), ClipChoice(clips=1)))

    def test_numbers_out_of_range(self, shapes):
        with pytest.raises(UserError, match="--clips 0"):
            evaluate_classifier([make_classifier()], Parts(shapes), clips=0)
        with pytest.raises(UserError, match="crops = 2"):
            evaluate_classifier([make_classifier()], Parts(shapes), crops=2)
