"""The loader's report on a small film: equal frames, all candidates, figures that add up."""

import numpy as np
import pytest

from cvrl.bench.bench_loader import measure, plan_visits
from cvrl.bench.common.peers import split_by_installed
from cvrl.bench.common.readers import PEER_READERS, check_alike, cvrl_reader, plain_decode
from cvrl.bench.common.sample_video import frames, write_film
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset
from cvrl.data.manifest import make_manifest
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video
from cvrl.views.temporal_pair import TemporalPair

SMALL = {"seconds": 1.6, "height": 48, "width": 64, "frames": 4, "size": 32, "visits": 2}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "a.mp4", seconds=2, size=(48, 64), gop=20)


def test_a_film_moves_and_is_a_function_of_its_seed():
    first, again, other = (np.stack(list(frames(3, (48, 64), seed))) for seed in (0, 0, 1))
    assert first.dtype == np.uint8 and first.shape == (3, 48, 64, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0].astype(int) - first[2]).mean() > 1
    assert np.abs(first.astype(int) - other).mean() > 5
    assert 20 < first.std() < 90  # textured, and not all clipped


def test_a_film_is_written_as_asked(film):
    with open_video(film) as video:
        assert (len(video), video.size, video.fps) == (50, (48, 64), 25)
        assert video.key_frames.tolist() == [0, 20, 40]


@pytest.mark.parametrize("indices", [[0], [19, 20], [3, 5, 7, 33], [45, 49], list(range(50))])
def test_the_ceiling_decodes_the_same_frames(film, indices):
    np.testing.assert_array_equal(plain_decode(str(film), indices), cvrl_reader(str(film), indices))


@pytest.mark.parametrize("name", PEER_READERS)
def test_peers_read_the_same_frames(film, name):
    if not split_by_installed([name])[0]:
        pytest.skip(f"{name} is not installed")
    indices = [3, 5, 7, 33]
    said = check_alike(
        name, cvrl_reader(str(film), indices), PEER_READERS[name](str(film), indices)
    )
    assert said.startswith(f"{name}: frames differ by 0.")


def test_other_frames_are_no_equal_work(film):
    ours, late = (cvrl_reader(str(film), [index]) for index in (0, 30))
    with pytest.raises(UserError, match="unequal work"):
        check_alike("peer", ours, late)
    with pytest.raises(UserError, match="shape"):
        check_alike("peer", ours, ours[:, 1:])


def test_a_peers_sample_is_our_sample(film):
    """The same frames through the same recipe with the same draws, bit for bit."""
    data = TrainDataset(
        make_manifest({"path": [str(film)]}, root="/"),
        TemporalPair(ClipSpec(frames=4, stride=2)),
        recipes.cvrl(32),
        seed=0,
    )
    visits = plan_visits(data, 3)
    for visit in range(3):
        ours = data[visit, 0].clips_VCTHW.numpy()
        unique, place = np.unique(visits.frames[visit], return_inverse=True)
        read = cvrl_reader(visits.paths[visit], unique.tolist())
        theirs = visits.augment(visit, read, place.reshape(2, 4)).numpy()
        np.testing.assert_array_equal(ours, theirs)
        by_clip = visits.augment(visit, visits.clip_by_clip(visit), np.arange(8).reshape(2, 4))
        np.testing.assert_allclose(ours, by_clip.numpy(), atol=0.05)


@pytest.fixture(scope="module")
def report():
    return measure(runs=2, against=["pytorchvideo", "torchcodec", "decord2", "kornia"], **SMALL)


def test_every_candidate_is_timed_and_judged(report):
    assert {"plain decode", "reader", "sample", "four clips a sample"} <= set(report.timings)
    assert {"sample from store", "sample from cache", "sample from shards"} <= set(report.timings)
    assert all(len(timing.cpu_s) == 2 for timing in report.timings.values())
    assert len(report.goals) == 8 and report.goals[0].ratio > 0
    assert "sample with kornia" not in report.timings and "kornia" not in report.absent


def test_a_peer_that_is_not_asked_for_is_not_measured():
    alone = measure(runs=1, against=[], **SMALL | {"visits": 1})
    unmeasured = [goal.what for goal in alone.goals if goal.met is None]
    assert unmeasured == ["samples/s / with pytorchvideo", "samples/s / with torchcodec"]
    assert len(alone.timings) == 8


def test_figures_are_of_these_runs(report):
    rate = report.facts["samples/s sample"]
    assert rate == pytest.approx(2 / report.timings["sample"].median_cpu, abs=0.06)
    assert report.facts["MB/minute cache"] > report.facts["MB/minute raw"]
    assert any(note.startswith("plain decode: frames differ by 0.00") for note in report.notes)


def test_the_users_own_videos(film):
    own = measure(runs=1, against=[], videos=str(film.parent), **SMALL | {"visits": 1})
    assert own.facts["film"] == str(film.parent) and own.timings["sample"].median_wall > 0
