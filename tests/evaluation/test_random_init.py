"""The untrained twin: fixed by its seed, and with batch norm that is measured, not made up."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest
from cvrl.engine.build import FOR_WEIGHTS as ENGINE_KEY
from cvrl.evaluation import random_init as untrained
from cvrl.evaluation.random_init import (
    FOR_WEIGHTS,
    random_init_encoder,
    random_init_encoders,
    recalibrate_batch_norm,
    weights_sha256,
)
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import CorruptVideoError

DatasetOf = Callable[..., EvalDataset]
SPEC: dict[str, Any] = {"name": "r3d_small", "width": 4}


class TestTwin:
    def test_the_seed_decides_the_weights(self) -> None:
        hashes = [weights_sha256(random_init_encoder(SPEC, seed)) for seed in (0, 0, 1)]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_the_global_generator_neither_decides_nor_changes(self) -> None:
        before = torch.get_rng_state()
        first = weights_sha256(random_init_encoder(SPEC, 0))
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        assert weights_sha256(random_init_encoder(SPEC, 0)) == first

    def test_same_architecture(self, encoder: Encoder) -> None:
        encoder.projector = None
        shapes = {k: v.shape for k, v in encoder.state_dict().items()}
        twin = random_init_encoder(encoder.spec, 0)
        assert {k: v.shape for k, v in twin.state_dict().items()} == shapes

    def test_the_key_is_the_one_training_starts_from(self) -> None:
        assert FOR_WEIGHTS == ENGINE_KEY


class TestRecalibration:
    def test_statistics_are_those_of_the_clips(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        """With one batch, the first norm must hold the mean and variance of what goes into it."""
        seen: list[torch.Tensor] = []
        norm = next(part for part in encoder.modules() if isinstance(part, nn.BatchNorm3d))
        handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        used = recalibrate_batch_norm(encoder, dataset_of(videos), batch_videos=len(videos))
        handle.remove()
        assert used == len(videos) and len(seen) == 1
        values = seen[0].transpose(0, 1).flatten(1)
        torch.testing.assert_close(norm.running_mean, values.mean(dim=1))
        torch.testing.assert_close(norm.running_var, values.var(dim=1))

    def test_several_batches_are_averaged_evenly(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        means: list[torch.Tensor] = []
        norm = next(part for part in encoder.modules() if isinstance(part, nn.BatchNorm3d))
        handle = norm.register_forward_pre_hook(
            lambda _, inputs: means.append(inputs[0].mean(dim=(0, 2, 3, 4)))
        )
        recalibrate_batch_norm(encoder, dataset_of(videos.take(range(16))), batch_videos=8)
        handle.remove()
        assert len(means) == 2
        torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(dim=0))

    def test_batches_mix_the_classes(
        self,
        encoder: Encoder,
        videos: Manifest,
        dataset_of: DatasetOf,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The list is sorted by class; a batch of its first eight would hold two classes only."""
        read: list[str] = []
        real = EvalDataset.__getitem__
        monkeypatch.setattr(
            EvalDataset,
            "__getitem__",
            lambda self, row: read.append(self.manifest.row(row)["label"]) or real(self, row),
        )
        recalibrate_batch_norm(encoder, dataset_of(videos), batch_videos=1, seed=1)
        assert set(read[:8]) == {"blue", "green", "red"}

    def test_weights_modes_momenta_and_generators_stay(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        encoder.train()
        encoder.res2.eval()
        norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm3d)]
        norms[0].momentum = 0.3
        weights = copy.deepcopy(dict(encoder.named_parameters()))
        modes = [part.training for part in encoder.modules()]
        before = torch.get_rng_state()
        recalibrate_batch_norm(encoder, dataset_of(videos.take([0, 1])))
        assert [part.training for part in encoder.modules()] == modes
        assert [norm.momentum for norm in norms[:2]] == [0.3, 0.1]
        assert all(torch.equal(weights[k], v) for k, v in encoder.named_parameters())
        assert torch.equal(torch.get_rng_state(), before)

    def test_momenta_come_back_after_a_failure(
        self, encoder: Encoder, with_a_bad_video: Manifest, dataset_of: DatasetOf
    ) -> None:
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4"):
            recalibrate_batch_norm(encoder, dataset_of(with_a_bad_video))
        norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm3d)]
        assert {norm.momentum for norm in norms} == {0.1}

    def test_at_most_so_many_videos(
        self, encoder: Encoder, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        assert recalibrate_batch_norm(encoder, dataset_of(videos), max_videos=3) == 3

    def test_repeatable(self, videos: Manifest, dataset_of: DatasetOf) -> None:
        hashes = []
        for _ in range(2):
            twin = random_init_encoder(SPEC, 0)
            recalibrate_batch_norm(twin, dataset_of(videos), seed=5)
            hashes.append(weights_sha256(twin))
        assert hashes[0] == hashes[1]

    def test_a_network_without_batch_norm_is_left_alone(
        self, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        assert recalibrate_batch_norm(nn.Flatten(), dataset_of(videos)) == 0


class TestTwins:
    def test_same_weights_and_two_kinds_of_statistics(
        self, videos: Manifest, dataset_of: DatasetOf
    ) -> None:
        twins, words = random_init_encoders(
            SPEC, dataset_of(videos), 0, torch.device("cpu"), batch_videos=8, workers=0
        )
        assert list(twins) == ["measured", "as initialised"]
        measured, plain = (dict(twin.named_parameters()) for twin in twins.values())
        assert all(torch.equal(measured[name], value) for name, value in plain.items())
        hashes = [weights_sha256(twin) for twin in twins.values()]
        assert hashes[1] == weights_sha256(random_init_encoder(SPEC, 0)) != hashes[0]
        assert "seed 0" in words and "measured on 18 videos" in words

    def test_without_batch_norm_there_is_one(
        self, videos: Manifest, dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(untrained, "random_init_encoder", lambda *_: nn.Flatten())
        twins, words = random_init_encoders(
            SPEC, dataset_of(videos), 3, torch.device("cpu"), batch_videos=8, workers=0
        )
        assert list(twins) == ["none"]
        assert words == "same architecture, random weights of seed 3"


class TestHash:
    def test_any_change_shows(self) -> None:
        net = nn.BatchNorm1d(3)
        first = weights_sha256(net)
        assert weights_sha256(copy.deepcopy(net)) == first
        assert net.running_mean is not None
        net.running_mean[1] += 1e-6
        assert weights_sha256(net) != first

    def test_name_shape_and_type_count(self) -> None:
        def hash_of(name: str, tensor: torch.Tensor) -> str:
            holder = nn.Module()
            holder.register_buffer(name, tensor)
            return weights_sha256(holder)

        zeros = torch.zeros(4)
        hashes = {
            hash_of("a", zeros),
            hash_of("b", zeros),
            hash_of("a", zeros.view(2, 2)),
            hash_of("a", torch.zeros(4, dtype=torch.int32)),
        }
        assert len(hashes) == 4

    def test_scalars_and_half_precision(self) -> None:
        net = nn.BatchNorm1d(2).bfloat16()  # num_batches_tracked is a scalar
        assert len(weights_sha256(net)) == 64
