"""Samples are functions of (seed, epoch, video); bad files are named; tests drop nothing."""

import dataclasses
import multiprocessing
from contextlib import closing

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.dataset import EvalDataset, TrainDataset, collate, read_clips
from cvrl.data.loader import eval_loader, train_loader
from cvrl.data.manifest import read_manifest
from cvrl.data.sampler import Visit, VisitSampler
from cvrl.transforms import recipes
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.reader import open_video
from cvrl.views.future_blocks import FutureBlocks
from cvrl.views.temporal_pair import TemporalPair

SPEC = ClipSpec(frames=4, stride=2)


@pytest.fixture
def manifest(video_folder):
    return read_manifest(video_folder)


def train_dataset(manifest, seed=0, **keywords):
    return TrainDataset(manifest, TemporalPair(SPEC), recipes.light(32), seed=seed, **keywords)


def equal(one, other):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def test_a_sample_holds_what_a_batch_needs(manifest):
    sample = train_dataset(manifest)[Visit(0, 3)]
    assert sample.clips_VCTHW.shape == (2, 3, 4, 32, 32)
    assert sample.clips_VCTHW.dtype == torch.float32
    assert sample.clips_VCTHW.min() >= 0 and sample.clips_VCTHW.max() <= 1
    assert (sample.video_id, sample.label) == (3, manifest.label_ids[3])
    assert sample.time_V.dtype == torch.float64 and sample.bad == ()


def test_a_sample_is_a_function_of_seed_epoch_and_index(manifest):
    dataset = train_dataset(manifest)
    again = train_dataset(manifest)
    again[Visit(5, 1)]
    assert equal(dataset[Visit(1, 2)], again[Visit(1, 2)])
    assert not equal(dataset[Visit(1, 2)], dataset[Visit(2, 2)])
    assert not equal(dataset[Visit(1, 2)], train_dataset(manifest, seed=1)[Visit(1, 2)])


def test_clips_show_the_frames_that_were_planned(manifest):
    path = manifest.path(0)
    frames_VT = np.array([[3, 5, 7, 9], [9, 0, 3, 3]])
    with open_video(path) as video:
        clips = read_clips(video, frames_VT)
        every = video.frames(np.arange(len(video)))
    assert clips.shape == (2, 3, 4, 48, 64) and clips.dtype == torch.uint8
    np.testing.assert_array_equal(clips.permute(0, 2, 3, 4, 1).numpy(), every[frames_VT])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(manifest, workers):
    def batches(count):
        sampler = VisitSampler(videos=len(manifest), batch_size=4, seed=0, last_step=4)
        return list(train_loader(train_dataset(manifest), sampler, workers=count))

    alone, helped = batches(0), batches(workers)
    assert len(alone) == len(helped) == 4
    for one, other in zip(alone, helped, strict=True):
        assert equal(one, other)


def test_batches_move_between_devices_and_dtypes_stay(manifest):
    dataset = train_dataset(manifest)
    batch = collate([dataset[Visit(0, i)] for i in range(3)])
    moved = batch.to(torch.device("cpu"))
    assert equal(batch, moved)
    assert batch.clips_BVCTHW.shape == (3, 2, 3, 4, 32, 32)
    assert batch.labels_B.dtype == batch.group_id_B.dtype == torch.int64


@pytest.fixture
def with_bad_file(video_folder, tmp_path):
    for file in sorted(video_folder.rglob("*.mp4"))[:5]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "a_bad.mp4").write_text("this is no video")
    return read_manifest(tmp_path)


def test_a_bad_video_is_replaced_by_another_and_named(with_bad_file):
    dataset = train_dataset(with_bad_file)
    sample = dataset[Visit(0, 0)]
    ((path, reason),) = sample.bad
    assert path.endswith("a_bad.mp4") and reason
    assert sample.video_id != 0
    assert equal(sample, dataset[Visit(0, 0)])
    batch = collate([sample, dataset[Visit(0, 1)]])
    assert batch.bad == sample.bad


def test_only_bad_videos_end_with_the_typed_error(tmp_path):
    (tmp_path / "one.mp4").write_text("no video")
    (tmp_path / "two.mp4").write_text("no video")
    manifest = read_manifest(tmp_path)
    sampler = VisitSampler(videos=2, batch_size=2, seed=0, last_step=1)
    with pytest.raises(CorruptVideoError, match=r"\.mp4"):
        list(train_loader(train_dataset(manifest), sampler, workers=1))


@pytest.mark.parametrize("name", ["light", "cvrl", "rho"])
def test_augmenting_on_the_device_gives_the_same_clips(manifest, name):
    recipe = recipes.build(name, 32)
    common = (manifest, TemporalPair(SPEC), recipe)
    here, there = (TrainDataset(*common, seed=0, on_device=on) for on in (False, True))
    visits = [Visit(2, i) for i in range(4)]
    whole = collate([here[visit] for visit in visits])
    cropped = collate([there[visit] for visit in visits])
    assert cropped.clips_BVCTHW.dtype == torch.uint8 and len(cropped.params_B) == 4
    finished = cropped.augmented(recipe.split()[1])
    assert torch.equal(finished.clips_BVCTHW, whole.clips_BVCTHW)
    assert whole.augmented(recipe) is whole


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("consistent", [True, False])
def test_blocks_of_one_video_are_augmented_alike(manifest, on_device, consistent):
    views = FutureBlocks(SPEC, blocks=3, predict=1)
    views.plan = lambda length, fps, rng: one_block_three_times(length)  # all show the same frames
    recipe = recipes.light(32, consistent=consistent)
    dataset = TrainDataset(manifest, views, recipe, seed=0, on_device=on_device)
    for index in range(4):
        batch = collate([dataset[Visit(0, index)]]).augmented(recipe.split()[1])
        first, *others = batch.clips_BVCTHW[0]
        for other in others:
            assert torch.equal(first, other) == consistent
    views.augmented_alike = ()
    first, second, _ = collate([dataset[Visit(0, 0)]]).augmented(recipe.split()[1]).clips_BVCTHW[0]
    assert not torch.equal(first, second)


def one_block_three_times(length):
    return Plan(np.tile(clip_indices(0, SPEC, length), (3, 1)), np.zeros(3, np.int64))


def test_blocks_augmented_on_the_device_are_the_same(manifest):
    recipe = recipes.light(32)
    common = (manifest, FutureBlocks(SPEC, blocks=3, predict=1), recipe)
    here, there = (TrainDataset(*common, seed=0, on_device=on) for on in (False, True))
    whole = collate([here[Visit(1, i)] for i in range(4)])
    finished = collate([there[Visit(1, i)] for i in range(4)]).augmented(recipe.split()[1])
    assert torch.equal(finished.clips_BVCTHW, whole.clips_BVCTHW)


def test_blocks_do_not_go_with_a_recipe_that_treats_clips_unlike(manifest):
    views = FutureBlocks(SPEC, blocks=3, predict=1)
    with pytest.raises(UserError, match=r"unlike.*use augment.name=light"):
        TrainDataset(manifest, views, recipes.cvrl(32), seed=0)[Visit(0, 0)]


def test_a_video_smaller_than_the_crop_is_refused(manifest):
    with pytest.raises(UserError, match=r"64x48 pixels, smaller than the crop of 50.*clip.size=48"):
        train_dataset(manifest, least_side=50)[Visit(0, 0)]


def test_workers_end_with_an_error_in_the_loop(manifest):
    def leave_in_the_middle():
        sampler = VisitSampler(videos=len(manifest), batch_size=2, seed=0, last_step=50)
        with closing(iter(train_loader(train_dataset(manifest), sampler, workers=2))) as batches:
            next(batches)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        leave_in_the_middle()
    assert multiprocessing.active_children() == []


def eval_dataset(manifest, clips=3, **keywords):
    return EvalDataset(manifest, SPEC, clips, recipes.evaluation(32), **keywords)


def test_test_clips_are_spread_and_timed(manifest):
    item = eval_dataset(manifest)[0]
    assert item.clips_NCTHW.shape == (3, 3, 4, 32, 32)
    with open_video(manifest.path(0)) as video:
        end = video.times[-1] + 1 / video.fps
        frames = torch.from_numpy(video.frames(clip_indices(0, SPEC, len(video))))
    assert item.start_N[0] == 0.0 and item.end_N[-1] == pytest.approx(end)
    expected = recipes.evaluation(32)(frames.permute(3, 0, 1, 2))
    torch.testing.assert_close(item.clips_NCTHW[0], expected)


def test_a_still_clip_repeats_its_middle_frame(manifest):
    moving, still = eval_dataset(manifest)[0], eval_dataset(manifest, perturbations=["still"])[0]
    middle = moving.clips_NCTHW[:, :, [SPEC.frames // 2]]
    assert torch.equal(still.clips_NCTHW, middle.expand_as(still.clips_NCTHW))
    assert torch.equal(still.start_N, moving.start_N)


def test_dense_clips_are_so_many_seconds_apart(manifest):
    item = eval_dataset(manifest, every_seconds=0.2)[0]
    assert len(item.start_N) > 2
    torch.testing.assert_close(
        item.start_N.diff(), torch.full((len(item.start_N) - 1,), 0.2, dtype=torch.float64)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_every_listed_video_is_scored_in_order(manifest, workers):
    batches = list(eval_loader(eval_dataset(manifest), batch_videos=5, workers=workers))
    index = torch.cat([batch.index_M for batch in batches])
    assert index.tolist() == [i for i in range(len(manifest)) for _ in range(3)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_test_video_is_an_error_that_names_it(with_bad_file, workers):
    loader = eval_loader(eval_dataset(with_bad_file), batch_videos=2, workers=workers)
    with pytest.raises(CorruptVideoError) as caught:
        list(loader)
    assert caught.value.path.endswith("a_bad.mp4")


def test_a_bad_test_video_can_be_named_instead(with_bad_file):
    dataset = eval_dataset(with_bad_file, name_bad=True)
    batches = list(eval_loader(dataset, batch_videos=2, workers=1))
    assert [path[-9:] for batch in batches for path, _ in batch.bad] == ["a_bad.mp4"]
    assert torch.cat([batch.index_M for batch in batches]).unique().tolist() == [1, 2, 3, 4, 5]


def test_a_part_of_the_list_can_be_read(manifest):
    loader = eval_loader(eval_dataset(manifest), batch_videos=2, workers=0, first=3, last=7)
    assert len(loader) == 2
    assert torch.cat([b.index_M for b in loader]).unique().tolist() == [3, 4, 5, 6]


def test_a_clip_rate_makes_other_rates_alike(make_video, tmp_path):
    frames = np.arange(60, dtype=np.uint8).repeat(32 * 32 * 3).reshape(60, 32, 32, 3) * 4
    make_video(tmp_path / "fast.mp4", frames, fps=30, options={"crf": "0"})
    make_video(tmp_path / "slow.mp4", frames[::3], fps=10, options={"crf": "0"})
    spec = ClipSpec(frames=4, stride=1, fps=10)
    dataset = EvalDataset(read_manifest(tmp_path), spec, 2, recipes.evaluation(32))
    fast, slow = dataset[0], dataset[1]
    torch.testing.assert_close(fast.clips_NCTHW, slow.clips_NCTHW, atol=0.02, rtol=0)
    torch.testing.assert_close(fast.start_N, slow.start_N, atol=1e-3, rtol=0)


def test_batch_is_a_plain_record(manifest):
    batch = collate([train_dataset(manifest)[Visit(0, 0)]])
    assert {f.name for f in dataclasses.fields(batch)} == {
        "clips_BVCTHW",
        "labels_B",
        "video_id_B",
        "group_id_B",
        "time_BV",
        "order_BV",
        "small_BVCTHW",
        "sound_BWMF",
        "params_B",
        "bad",
    }
