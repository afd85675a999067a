"""Extraction: every listed video, in order, the same whatever the batches, and without a trace."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.extraction import (
    Features,
    encode,
    evaluating,
    extract_features,
    extract_together,
    mean_over_clips,
    module_device,
    transform_of,
)
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.utils.errors import CorruptVideoError, UserError

DatasetOf = Callable[..., EvalDataset]


class TestExtract:
    def test_each_clip_has_its_vector_in_the_order_of_the_list(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        dataset = dataset_of(videos, clips=3)
        features = extract_features(encoder, dataset)
        assert features.vectors_ND.shape == (3 * len(videos), encoder.dim)
        assert features.vectors_ND.dtype == torch.float32
        assert features.index_N.tolist() == [row for row in range(len(videos)) for _ in range(3)]
        assert features.n_scored == features.n_listed == len(videos)
        for row in (0, 7, len(videos) - 1):
            item = dataset[row]
            with torch.inference_mode():
                expected = encoder(item.clips_NCTHW)
            torch.testing.assert_close(features.vectors_ND[3 * row : 3 * row + 3], expected)
            assert torch.equal(features.start_N[3 * row : 3 * row + 3], item.start_N)
            assert torch.equal(features.end_N[3 * row : 3 * row + 3], item.end_N)

    @pytest.mark.parametrize(("batch_videos", "workers"), [(1, 0), (5, 0), (100, 0), (4, 2)])
    def test_batches_and_workers_do_not_matter(
        self,
        encoder: Encoder,
        videos: Manifest,
        dataset_of: DatasetOf,
        batch_videos: int,
        workers: int,
    ) -> None:
        dataset = dataset_of(videos)
        expected = extract_features(encoder, dataset, batch_videos=8)
        got = extract_features(encoder, dataset, batch_videos=batch_videos, workers=workers)
        torch.testing.assert_close(got.vectors_ND, expected.vectors_ND, atol=1e-5, rtol=1e-5)
        assert torch.equal(got.index_N, expected.index_N)

    def test_the_network_comes_back_as_it_was(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        encoder.train()
        encoder.res2.eval()  # a frozen stage
        modes = [part.training for part in encoder.modules()]
        state = copy.deepcopy(encoder.state_dict())
        extract_features(encoder, dataset_of(videos))
        assert [part.training for part in encoder.modules()] == modes
        assert all(torch.equal(state[key], value) for key, value in encoder.state_dict().items())

    def test_modes_come_back_after_a_failure(
        self, encoder: Encoder, with_a_bad_video: Manifest, dataset_of: DatasetOf
    ) -> None:
        encoder.train()
        with pytest.raises(CorruptVideoError):
            extract_features(encoder, dataset_of(with_a_bad_video))
        assert all(part.training for part in encoder.modules())

    @pytest.mark.parametrize("workers", [0, 1])
    def test_no_random_generator_is_touched(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf, workers: int
    ) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        extract_features(encoder, dataset_of(videos.take([0, 1])), workers=workers)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
        assert random.getstate() == before[2]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_bad_video_fails_by_name(
        self, encoder: Encoder, with_a_bad_video: Manifest, dataset_of: DatasetOf, workers: int
    ) -> None:
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4") as caught:
            extract_features(encoder, dataset_of(with_a_bad_video), workers=workers)
        assert caught.value.path == with_a_bad_video.path(2)

    def test_an_empty_list_is_refused(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        with pytest.raises(UserError, match="is empty"):
            extract_features(encoder, dataset_of(videos.take([])))

    def test_a_network_that_has_diverged_is_refused(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        with torch.no_grad():
            next(encoder.res5.parameters()).fill_(float("nan"))
        with pytest.raises(UserError, match="not finite"):
            extract_features(encoder, dataset_of(videos.take([0])))

    def test_results_can_be_used_in_training(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        vectors = extract_features(encoder, dataset_of(videos.take([0]))).vectors_ND
        assert not vectors.is_inference() and not vectors.requires_grad

    def test_a_loader_that_loses_a_video_is_caught(
        self,
        encoder: Encoder,
        videos: Manifest,
        dataset_of: DatasetOf,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from cvrl.evaluation.features import extraction as module

        real = module.eval_loader
        monkeypatch.setattr(
            module,
            "eval_loader",
            lambda dataset, batch_videos, workers: real(
                dataset, batch_videos=batch_videos, workers=workers, first=1
            ),
        )
        with pytest.raises(CorruptVideoError, match="gave no clip; 2 of 3") as caught:
            extract_features(encoder, dataset_of(videos.take([0, 1, 2])))
        assert caught.value.path == videos.path(0)


class TestTogether:
    def test_equals_one_after_the_other_and_decodes_once(
        self,
        encoder: Encoder,
        videos: Manifest,
        dataset_of: DatasetOf,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        other = copy.deepcopy(encoder)
        with torch.no_grad():
            next(other.res5.parameters()).mul_(2)
        dataset = dataset_of(videos.take([0, 1, 2]))
        alone = [extract_features(e, dataset) for e in (encoder, other)]
        read: list[int] = []
        real = EvalDataset.__getitem__
        monkeypatch.setattr(
            EvalDataset, "__getitem__", lambda self, row: read.append(row) or real(self, row)
        )
        together = extract_together([encoder, other], dataset)
        assert read == [0, 1, 2]
        for one, both in zip(alone, together, strict=True):
            assert torch.equal(one.vectors_ND, both.vectors_ND)


class TestStages:
    @pytest.mark.parametrize("stage", ["res2", "res3", "res4", "res5"])
    def test_maps_are_averaged(self, encoder: Encoder, stage: str) -> None:
        clips = torch.rand(2, 3, 8, 32, 32)
        with torch.no_grad():
            expected = encoder.stages(clips)[stage].mean(dim=(2, 3, 4))
            got = encode(encoder, clips, stage)  # type: ignore[arg-type]
        torch.testing.assert_close(got, expected)

    def test_the_last_map_is_what_is_pooled(self, encoder: Encoder) -> None:
        clips = torch.rand(2, 3, 8, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(encode(encoder, clips, "res5"), encoder(clips))

    def test_projected(self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf) -> None:
        dataset = dataset_of(videos.take([0, 1]))
        features = extract_features(
            encoder, dataset, projector=encoder.projector, stage="projected"
        )
        pooled = extract_features(encoder, dataset).vectors_ND
        assert encoder.projector is not None
        with torch.no_grad():
            torch.testing.assert_close(features.vectors_ND, encoder.projector(pooled))

    def test_projected_without_a_head_is_refused(self, encoder: Encoder) -> None:
        with pytest.raises(UserError, match="no projection head"):
            encode(encoder, torch.rand(1, 3, 8, 32, 32), "projected")

    def test_an_unknown_stage_names_the_known_ones(self, encoder: Encoder) -> None:
        clips = torch.rand(1, 3, 8, 32, 32)
        with pytest.raises(UserError, match="use one of res2, res3, res4, res5, pooled, projected"):
            encode(encoder, clips, "res9")  # type: ignore[arg-type]
        with pytest.raises(UserError, match="use one of pooled, projected"):
            encode(nn.Flatten(), clips, "res2")

    def test_half_precision_outputs_become_float32(self) -> None:
        assert encode(nn.Flatten(), torch.ones(1, 2).bfloat16()).dtype == torch.float32


class TestMean:
    def test_uneven_numbers_of_clips(self) -> None:
        index = torch.tensor([0, 1, 1, 1, 2])
        vectors = torch.randn(5, 3)
        features = Features(vectors, index, torch.zeros(5), torch.zeros(5), 3)
        expected = torch.stack([vectors[index == v].mean(dim=0) for v in range(3)])
        torch.testing.assert_close(mean_over_clips(features), expected)

    def test_order_of_the_clips_does_not_matter(self) -> None:
        index = torch.tensor([2, 0, 1, 0])
        features = Features(torch.randn(4, 2), index, torch.zeros(4), torch.zeros(4), 3)
        back = replace(
            features, vectors_ND=features.vectors_ND.flip(0), index_N=features.index_N.flip(0)
        )
        torch.testing.assert_close(mean_over_clips(features), mean_over_clips(back))


class TestSmallParts:
    def test_evaluating_restores_mixed_modes(self) -> None:
        net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))
        net[1].eval()
        modes = [part.training for part in net.modules()]
        with evaluating(net):
            assert not any(part.training for part in net.modules())
        assert [part.training for part in net.modules()] == modes

    def test_device(self) -> None:
        assert module_device(nn.Identity()) == torch.device("cpu")
        assert module_device(nn.Linear(1, 1).to("meta")) == torch.device("meta")

    def test_transform_of(self, encoder: Encoder) -> None:
        clip: Tensor = transform_of(encoder)(torch.zeros(3, 4, 40, 60, dtype=torch.uint8))
        assert clip.shape == (3, 4, 32, 32)
        with pytest.raises(UserError, match="load_encoder"):
            transform_of(build_encoder("r3d_small", width=4))
