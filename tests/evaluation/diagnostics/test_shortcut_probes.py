"""Every probe finds a shortcut that was planted for it, and none where the label is only drawn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.engine.scoring.shortcut_audit import audit_views
from cvrl.evaluation.diagnostics import shortcut_probes as audit
from cvrl.evaluation.diagnostics.shortcut_probes import Verdict, probe
from cvrl.transforms.black_bars import crop_black_bars
from cvrl.utils.errors import UserError
from cvrl.views.jigsaw_pair import JigsawPair

REPOSITORY = Path(__file__).parents[3]
ROWS = 600


def scenes(rows=ROWS, clips=1, frames=4, size=32, seed=0):
    """Smooth moving pictures, each of a brightness and a slope of light of its own."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(rows * clips, 3 * frames, 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    slope = torch.rand(rows * clips, 1, 1, 1, generator=generator) * torch.linspace(1, 0, size)
    fine = fine + slope.mT  # lighter above, as a sky is
    return fine.view(rows, clips, 3, frames, size, size)


def labels(classes, rows=ROWS, seed=1):
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))


GROUPS = torch.arange(ROWS) // 6


def traces(clips_RVCTHW):
    return {
        "colour": audit.colour(clips_RVCTHW),
        "border": audit.border(clips_RVCTHW),
        "aspect": audit.shape(clips_RVCTHW, torch.ones(len(clips_RVCTHW))),
        "seam": audit.seams(clips_RVCTHW),
    }


@pytest.mark.parametrize("clips", [1, 3])
def test_labels_that_are_only_drawn_pass(clips):
    for name, x_RD in traces(scenes(clips=clips)).items():
        if x_RD.shape[1]:
            assert not probe(x_RD, labels(4), GROUPS).reported, name


# --- a shortcut planted for each -----------------------------------------------------------------


def test_colour_finds_a_tint_that_tells_the_label():
    clips, label = scenes(), labels(3)
    clips[torch.arange(ROWS), 0, label] += 0.2
    assert probe(audit.colour(clips), label, GROUPS).reported


@pytest.mark.parametrize("width", [1, 2, 3])
def test_border_finds_a_dark_bar_that_turns_with_the_picture(width):
    clips, label = scenes(), labels(4)
    for row, turn in enumerate(label.tolist()):
        clips[row, ..., :width, :] = 0.0
        clips[row] = torch.rot90(clips[row], turn, dims=(-2, -1))
    verdict = probe(audit.border(clips), label, GROUPS)
    assert verdict.reported and verdict.accuracy > 0.75


def test_border_does_not_take_light_from_above_for_a_bar():
    clips, label = scenes(), labels(4)
    for row, turn in enumerate(label.tolist()):
        clips[row] = torch.rot90(clips[row], turn, dims=(-2, -1))
    assert not probe(audit.border(clips), label, GROUPS).reported
    assert probe(clips.mean(dim=(1, 2, 3))[:, ::8, ::8].flatten(1), label, GROUPS).reported


def test_aspect_finds_a_stretch_that_tells_the_label():
    clips, label = scenes(size=64), labels(2)
    square = clips[..., ::2, ::2].clone()
    wide = clips[..., ::2, :32]
    square[label == 1] = wide[label == 1]
    assert probe(audit.shape(square, torch.ones(ROWS)), label, GROUPS).reported


def test_aspect_does_not_take_stripes_for_a_stretch():
    """Twice as strong up and down as across, but no finer."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.rand(40, 1, 1, 1, 64, generator=generator) for _ in range(2))
    picture = 2 * rows[..., :, None] + columns[..., None, :]
    found = audit.shape(picture, torch.ones(40))[:, 0]
    assert abs(found.mean()) < 3 * found.std() / 40**0.5


def test_the_shape_of_the_source_is_a_feature():
    assert audit.shape(scenes(2), torch.tensor([1.0, np.e]))[:, 1].tolist() == pytest.approx([0, 1])


def test_gop_finds_a_start_right_after_a_key_frame():
    rng, label = np.random.default_rng(0), labels(2)
    keys = np.arange(0, 120, 12)
    x = [
        audit.gop_position(
            np.arange(3)[None] + 12 * rng.integers(9) + 6 * k + rng.integers(6), keys
        )
        for k in label.tolist()
    ]
    assert probe(torch.stack(x), label, GROUPS).reported


def test_gop_finds_the_order_of_clips_two_groups_apart():
    """Steps of 23 to 27 frames are about twice 12: which clip is later shows in the phases."""
    rng, label = np.random.default_rng(0), labels(2)
    keys = np.arange(0, 120, 12)

    def row(label, jitter):
        first = int(rng.integers(1, 60))
        starts = np.array([first, first + 23 + int(rng.integers(jitter + 1))])
        return audit.gop_position(starts[:: -1 if label else 1, None] + np.arange(8), keys)

    for jitter, told in ((4, True), (11, False)):
        x = torch.stack([row(k, jitter) for k in label.tolist()])
        assert probe(x[:, [12, 13]], label, GROUPS).reported == told


def test_gop_finds_that_frame_0_is_in_the_first_clip():
    label = labels(2)
    x = [
        audit.gop_position(np.array([[0, 1], [8, 9]])[:: -1 if k else 1], np.array([0]))
        for k in label
    ]
    assert probe(torch.stack(x), label, GROUPS).accuracy == 1


def test_a_video_with_one_key_frame_tells_nothing_of_time():
    keys = np.array([0])
    early, late = (audit.gop_position(np.array([[t, t + 2]]), keys) for t in (3, 90))
    assert torch.equal(early, late) and not early.any()


def test_a_folder_of_frames_has_no_key_frames():
    assert not audit.gop_position(np.array([[0, 1], [4, 5]]), None).any()


def test_gop_features_are_what_they_say():
    found = audit.gop_position(np.array([[15, 18, 21, 24]]), np.array([0, 12, 24])).tolist()
    assert found == pytest.approx([1, 0, 0, 1, 0.75, 0.25], abs=1e-6)


def test_seam_finds_the_order_of_clips_that_run_on():
    film = scenes(rows=ROWS, frames=12)
    label = labels(2)
    clips = torch.stack([film[:, 0, :, :6], film[:, 0, :, 5:11]], dim=1)
    clips[label == 1] = clips[label == 1].flip(1)
    assert probe(audit.seams(clips), label, GROUPS).reported


def fit(far, near, turned):
    lines = ((far - near).abs().mean() / (far - turned).abs().mean()).log()
    light = ((far.mean((-2, -1)) - near.mean((-2, -1))).abs().sum() + audit.DIM).log()
    return torch.stack([lines, light])


def test_seams_compare_the_fit_of_tiles_as_they_are_and_swapped():
    clip = torch.rand(1, 1, 3, 4, 8, 8, dtype=torch.float64)
    boxes = [(slice(0, 4), slice(0, 8), slice(0, 3)), (slice(0, 4), slice(0, 8), slice(4, 7))]
    as_it_is = fit(clip[..., 2], clip[..., 4], clip[..., 4].flip(-1))
    swapped = fit(clip[..., 6], clip[..., 0], clip[..., 0].flip(-1))
    torch.testing.assert_close(audit.seams(clip, boxes)[0], as_it_is - swapped)


def test_a_face_in_time_is_turned_in_both_directions():
    clip = torch.rand(1, 1, 3, 4, 8, 6, dtype=torch.float64)
    boxes = [(slice(0, 2), slice(0, 8), slice(0, 6)), (slice(2, 4), slice(0, 8), slice(0, 6))]
    first, end, start, last = (clip[:, :, :, t] for t in range(4))
    as_it_is = fit(end, start, start.rot90(2, (-2, -1)))
    swapped = fit(last, first, first.rot90(2, (-2, -1)))
    torch.testing.assert_close(audit.seams(clip, boxes)[0], as_it_is - swapped)


def test_what_both_tiles_show_is_no_seam():
    clips, label = torch.rand(ROWS, 1, 3, 4, 16, 16), labels(2)
    ground = torch.linspace(0, 3, 16)[:, None]
    clips[label == 1] += ground  # in one class all tiles have it, in the other none
    boxes = [(slice(0, 4), slice(0, 16), slice(0, 8)), (slice(0, 4), slice(0, 16), slice(8, 16))]
    assert not probe(audit.seams(clips, boxes), label, GROUPS).reported


def test_how_busy_a_tile_is_tells_no_seam():
    clips, label = torch.rand(ROWS, 1, 3, 4, 16, 16), labels(2)
    for row, first in enumerate(label.tolist()):
        clips[row, ..., :8] *= 0.1 if first else 1.0  # the flat tile first, or the busy one
        clips[row, ..., 8:] *= 1.0 if first else 0.1
    boxes = [(slice(0, 4), slice(0, 16), slice(0, 8)), (slice(0, 4), slice(0, 16), slice(8, 16))]
    centred = clips - clips.mean(dim=(-2, -1), keepdim=True)
    for axis in (slice(0, 8), slice(8, 16)):
        centred[..., axis] = centred[..., axis] - centred[..., axis].mean(dim=-2, keepdim=True)
    assert not probe(audit.seams(centred, boxes), label, GROUPS).reported


def test_seam_finds_tiles_that_fit_each_other():
    views = JigsawPair(ClipSpec(4, 1), grid=(1, 2, 2), permutations=4, gap=0.0, equalise=False)
    clips, label = scenes(), labels(4)
    for row, number in enumerate(label.tolist()):
        plan = views.plan(50, 25.0, np.random.default_rng(row))
        plan.order_V[1] = number
        clips[row, 0] = views.arrange(
            clips[row].repeat(2, 1, 1, 1, 1), plan, np.random.default_rng(0)
        )[0][1]
    x = audit.seams(clips, views.pieces(clips.shape[-3:]))
    assert probe(x, label, GROUPS).accuracy > 0.8


def test_a_clip_alone_has_no_seam():
    assert audit.seams(scenes(5)).shape == (5, 0)


# --- the verdict ---------------------------------------------------------------------------------


def test_z_counts_standard_deviations_of_a_guess():
    assert Verdict(400, 0.55, 0.5).z == pytest.approx(2.0)
    assert not Verdict(400, 0.575, 0.5).reported and Verdict(400, 0.58, 0.5).reported
    assert Verdict(400, 1.0, 1.0).z == 0


def test_a_probe_that_always_names_the_commonest_class_is_at_chance():
    label = (torch.arange(ROWS) % 10 == 0).long()
    verdict = probe(torch.zeros(ROWS, 1), label, GROUPS)
    assert verdict.accuracy == verdict.chance > 0.85 and verdict.z == 0


def test_false_alarms_are_as_rare_as_three_sigma_says():
    generator = torch.Generator().manual_seed(3)
    z = [
        probe(torch.randn(300, 4, generator=generator), labels(3, 300, s), GROUPS[:300]).z
        for s in range(60)
    ]
    assert abs(np.mean(z)) < 0.5 and 0.7 < np.std(z) < 1.3


def test_what_only_holds_in_one_group_is_not_learnt():
    """A background that tells the label of its own group does not tell that of others."""
    label = labels(2, 300).repeat_interleave(2)
    background = torch.nn.functional.one_hot(torch.arange(ROWS) // 2).float()
    assert not probe(background, label, torch.arange(ROWS) // 2).reported


@pytest.mark.parametrize("groups", [torch.zeros(ROWS), torch.zeros(ROWS).long()])
def test_one_group_cannot_be_split(groups):
    with pytest.raises(UserError, match="too few to learn from: 1 groups, 600 labels"):
        probe(torch.zeros(ROWS, 1), labels(2), groups)


# --- bars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(0, 5), (5, 0), (4, 4)])
def test_bars_are_cut_off_with_the_line_beside_them(side):
    clips = torch.randint(256, (2, 3, 4, 48, 64), dtype=torch.uint8)
    first, last = side
    clips[..., :first, :] = 10
    clips[..., 48 - last :, :] = 20
    cut = [width + 1 if width else 0 for width in side]
    assert torch.equal(crop_black_bars(clips), clips[..., cut[0] : 48 - cut[1], :])


def test_a_picture_without_bars_stays_as_it_is():
    clips = torch.randint(256, (1, 3, 4, 48, 64), dtype=torch.uint8)
    bright = torch.full_like(clips, 200)
    assert crop_black_bars(clips).shape == clips.shape
    assert crop_black_bars(bright).shape == clips.shape
    assert crop_black_bars(torch.zeros_like(clips)).shape[-2:] == (24, 32)


# --- the command ---------------------------------------------------------------------------------


def command(*arguments, cwd):
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "160"}
    tool = str(REPOSITORY / "tools" / "inspect_data.py")
    line = [sys.executable, tool, *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)


def test_the_command_audits_views_by_name(video_folder, tmp_path):
    done = command(
        *(video_folder, "--audit", "rotated", "--workers", 0, "--output", "a/audit.json"),
        *("clip.size=24", "clip.frames=4", "data.cache_dir=cache", "data.cache_short_side=32"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "rotated: 4 classes, 12 videos" in done.stdout
    assert "colour" in done.stdout and "nothing to look at" in done.stdout
    facts = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert facts["finding"] in done.stdout.replace("\n", " ")
    assert set(facts["probes"]) == {"colour", "border", "aspect", "gop", "seam"}
    assert facts["probes"]["seam"] is None and facts["probes"]["colour"]["rows"] > 100
    assert not (tmp_path / "manifest.csv").exists()


def test_the_command_audits_a_config(video_folder, tmp_path):
    (tmp_path / "task.yaml").write_text(
        "clip: {frames: 4, stride: 1, size: 24}\nviews: {name: ordered_clips, gap: 2}\n"
        "augment: {name: light}\n"
    )
    cache = ("data.cache_dir=cache", "data.cache_short_side=32")
    done = command(
        *(video_folder, "--audit", "task.yaml", "--workers", 0, "views.gap_jitter=1", *cache),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "ordered_clips: 6 classes, 12 videos" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("temporal_pair",),
            "temporal_pair: has no labels that a method is to tell; use jigsaw_pair, "
            "ordered_clips, pace, relative_patch, rotated, shuffled_pair with views.role=predict "
            "or temporal_transform",
        ),
        (("shuffled_pair",), "shuffled_pair: has no labels that a method is to tell"),
        (("rotatd",), "views.name = rotatd: no such file in cvrl/views"),
        (("gone.yaml",), "gone.yaml: "),
        (("rotated", None, ["views.copys=1"]), "views.copys: not a keyword of Rotated"),
    ],
)
def test_wrong_input_is_named(arguments, message, video_folder):
    with pytest.raises(UserError) as caught:
        audit_views(video_folder, *arguments)
    assert str(caught.value).startswith(message)


def test_overrides_without_an_audit_are_one_line_and_exit_code_2(tmp_path):
    done = command("videos", "views.gap=1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: views.gap=1: needs --audit or --config; omit it\n"
