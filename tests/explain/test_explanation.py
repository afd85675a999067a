"""Explanations to look at: what is explained, and files that hold what they should."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvrl.data.clips import ClipSpec
from cvrl.explain.explanation import BAR, GAP, TOP, explain, overlay, write_explanation
from cvrl.explain.grad_cam import Heat
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.heads import ClassHead
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_encoder("r3d_small", width=2)
    made.clip, made.size, made.preprocess = ClipSpec(8, 2), 32, recipes.evaluation(32)
    return made.eval()


@pytest.fixture(scope="module")
def clip(video_folder: Path) -> str:
    return str(sorted(video_folder.rglob("*.mp4"))[3])


@pytest.fixture
def head(encoder: Encoder) -> ClassHead:
    made = ClassHead(encoder.dim, ["down", "right"], dropout=0.5)
    with torch.no_grad():
        made.weight.zero_()
        made.bias.copy_(torch.tensor([-2.0, 2.0]))
    return made.train()


class TestWhatIsExplained:
    def test_the_answer_unless_a_class_is_named(
        self, encoder: Encoder, head: ClassHead, clip: str
    ) -> None:
        assert explain(encoder, head, clip).words == "class right (98 %)"
        named = explain(encoder, head, clip, class_name="down")
        assert named.words == "class down (2 %)"
        assert head.training

    def test_without_a_classifier_the_feature(self, encoder: Encoder, clip: str) -> None:
        heat = explain(encoder, None, clip)
        assert heat.words == "mean feature" and heat.map_Lhw.max() == 1

    def test_likeness_to_another_video(
        self, encoder: Encoder, head: ClassHead, clip: str, video_folder: Path
    ) -> None:
        other = sorted(video_folder.rglob("*.mp4"))[8]
        heat = explain(encoder, head, clip, like=str(other))
        assert heat.words == f"similarity to {other.name}"
        assert not np.array_equal(heat.map_Lhw, explain(encoder, None, clip).map_Lhw)

    def test_the_stage_is_one_that_can_say_where(self, encoder: Encoder, clip: str) -> None:
        heat = explain(encoder, None, clip)
        assert (heat.stage, heat.map_Lhw.shape[1:]) == ("res3", (4, 4))
        last = explain(encoder, None, clip, stage="res5")
        assert (last.stage, last.map_Lhw.shape[1:]) == ("res5", (1, 1))

    def test_a_class_needs_a_classifier(self, encoder: Encoder, head: ClassHead, clip: str) -> None:
        with pytest.raises(UserError, match="the model has no classifier"):
            explain(encoder, None, clip, class_name="down")
        with pytest.raises(UserError, match="combined with another video"):
            explain(encoder, head, clip, class_name="down", like=clip)
        with pytest.raises(UserError, match=r"did you mean right\?"):
            explain(encoder, head, clip, class_name="rihgt")


class TestFiles:
    def test_the_video_holds_a_frame_a_frame(
        self, encoder: Encoder, clip: str, tmp_path: Path
    ) -> None:
        with open_video(clip) as video:
            frames, fps = len(video), video.fps
        heat = np.zeros((frames, 2, 2), np.float32)
        heat[frames // 2 :, 0, 1] = 1
        files = write_explanation(encoder, clip, Heat(heat, "words"), tmp_path / "a.mp4", side=64)
        assert files == [tmp_path / "a.mp4", tmp_path / "a.png"]
        with open_video(files[0]) as video:
            assert (len(video), video.size) == (frames, (TOP + 64 + BAR, 2 * 64 + GAP))
            assert video.fps == pytest.approx(fps)
            shown = video.frames([2, frames - 2]).astype(int)
        early, late = shown[:, TOP : TOP + 64]
        seen, hot = slice(2, 62), slice(64 + GAP + 2, 2 * 64 + GAP - 2)
        assert np.abs(early[:, seen] - early[:, hot]).mean() < 6
        change = np.abs(late[:, seen] - late[:, hot]).mean(axis=2)
        assert change[:20, -20:].mean() > 40 > 8 > change[-20:, :20].mean()
        bar = shown[0, TOP + 64 :]
        assert (bar[:6, -10:] < 240).any() and (bar[:, 20:60] < 180).any()  # a curve, and words
        with Image.open(files[1]) as strip:
            assert strip.width > 8 * 32 and strip.height > 2 * 32

    def test_a_wrong_name_is_refused(self, encoder: Encoder, clip: str, tmp_path: Path) -> None:
        heat = Heat(np.zeros((3, 2, 2), np.float32), "words")
        with pytest.raises(UserError, match=r"let it end in \.mp4"):
            write_explanation(encoder, clip, heat, tmp_path / "a.gif", side=32)


def test_the_overlay_is_between_frame_and_colour() -> None:
    frame = np.full((2, 1, 3), 100, np.uint8)
    heat = np.array([[0.0], [1.0]], np.float32)
    cold, hot = overlay(frame, heat)[:, 0]
    assert (cold == 100).all()
    assert hot[0] > 150 and hot[1] < 100 and hot[2] < 100  # the hottest colour is a bright red
