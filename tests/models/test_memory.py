"""A queue that loses no row and a bank that moves no row but those it is told to."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cvrl.models.memory import Bank, Queue
from cvrl.utils.errors import UserError


def unit(rows, dim=3, seed=0):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)))


class TestQueue:
    @settings(deadline=None)
    @given(size=st.integers(1, 12), batches=st.lists(st.integers(0, 30), max_size=8))
    def test_it_holds_the_last_keys_of_batches_of_any_size(self, size, batches):
        queue, expected, pushed = Queue(size, 3), deque(maxlen=size), 0
        for rows in batches:
            ids = torch.arange(pushed, pushed + rows)
            key_BD = unit(rows, seed=pushed)
            queue.push(key_BD, video_B=ids, group_B=ids // 2)
            expected.extend(zip(ids.tolist(), key_BD.tolist(), strict=True))
            pushed += rows
            assert int(queue.filled) == min(pushed, size) == len(expected)
            assert queue.is_full == (pushed >= size)
            assert float(queue.fill) == pytest.approx(len(expected) / size)
            assert int(queue.pointer) == pushed % size
        order = [(pushed + k) % size for k in range(size)]  # oldest first
        held = [k for k in order if queue.video_K[k] >= 0]
        assert [int(queue.video_K[k]) for k in held] == [video for video, _ in expected]
        assert [int(queue.group_K[k]) for k in held] == [video // 2 for video, _ in expected]
        assert [queue.key_KD[k].tolist() for k in held] == [key for _, key in expected]

    def test_nothing_is_dropped_where_it_wraps(self):
        queue = Queue(5, 3)
        queue.push(unit(4), torch.arange(4), torch.arange(4))
        queue.push(unit(3, seed=1), torch.arange(4, 7), torch.arange(4, 7))
        assert queue.video_K.tolist() == [5, 6, 2, 3, 4]

    def test_one_big_batch_is_many_small_ones(self):
        big, small = Queue(4, 3), Queue(4, 3)
        key_BD, ids = unit(11), torch.arange(11)
        big.push(key_BD, ids, ids)
        for row in range(11):
            small.push(*(t[row : row + 1] for t in (key_BD, ids, ids)))
        for name, value in big.state_dict().items():
            assert torch.equal(value, small.state_dict()[name]), name

    def test_it_starts_random_of_unit_norm_and_of_no_video(self):
        queue = Queue(100, 8)
        torch.testing.assert_close(queue.key_KD.norm(dim=1), torch.ones(100))
        assert (queue.video_K == -1).all() and (queue.group_K == -1).all()
        assert not queue.is_full and float(queue.fill) == 0.0
        assert queue.key_KD.mean(dim=0).norm() < 0.5

    def test_all_of_it_is_saved(self):
        queue, other = Queue(4, 3), Queue(4, 3)
        queue.push(unit(6), torch.arange(6), torch.arange(6))
        other.load_state_dict(queue.state_dict())
        for one in (queue, other):
            one.push(unit(3, seed=2), torch.arange(3), torch.arange(3))
        assert queue.video_K.tolist() == other.video_K.tolist() == [2, 5, 0, 1]
        assert torch.equal(queue.key_KD, other.key_KD)

    def test_what_is_kept_is_no_part_of_a_graph(self):
        queue = Queue(4, 3)
        key_BD = unit(2).requires_grad_()
        queue.push(key_BD, torch.arange(2), torch.arange(2))
        assert not queue.key_KD.requires_grad
        assert not list(queue.parameters())

    def test_half_precision_keys_are_kept_in_full(self):
        queue = Queue(4, 3)
        queue.push(unit(2).bfloat16(), torch.arange(2), torch.arange(2))
        assert queue.key_KD.dtype == torch.float32
        assert queue.double().key_KD.dtype == torch.float64

    def test_no_entries_are_refused(self):
        with pytest.raises(UserError, match="queue size = 0"):
            Queue(0, 3)


class TestBank:
    def by_loop(self, bank, video, z, group, momentum):
        """The definition, one video at a time."""
        entries, groups = bank.entry_ND.tolist(), bank.group_N.tolist()
        for v in sorted(set(video)):
            rows = [z[i] for i in range(len(video)) if video[i] == v]
            mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
            new = [momentum * o + (1 - momentum) * n for o, n in zip(entries[v], mean, strict=True)]
            norm = sum(x * x for x in new) ** 0.5
            entries[v] = [x / norm for x in new]
            groups[v] = group[video.index(v)]
        return torch.tensor(entries, dtype=torch.float64), groups

    @pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 1.0])
    @pytest.mark.parametrize("video", [[2], [5, 0, 3], [1, 4, 1, 0, 1], [3, 3]])
    def test_it_moves_as_defined(self, momentum, video):
        bank = Bank(6, 3).double()
        z_BD, group = unit(len(video)).double(), [v + 10 for v in video]
        entries, groups = self.by_loop(bank, video, z_BD.tolist(), group, momentum)
        bank.update(torch.tensor(video), z_BD, torch.tensor(group), momentum)
        torch.testing.assert_close(bank.entry_ND, entries, atol=1e-9, rtol=0)
        assert bank.group_N.tolist() == groups

    def test_other_entries_are_left_to_the_last_bit(self):
        bank = Bank(50, 4)
        before = bank.entry_ND.clone()
        bank.update(torch.tensor([7, 30]), unit(2, 4), torch.tensor([1, 2]), 0.5)
        moved = (bank.entry_ND != before).any(dim=1).nonzero().flatten()
        assert moved.tolist() == [7, 30]
        assert (bank.group_N >= 0).nonzero().flatten().tolist() == [7, 30]

    def test_rows_of_one_video_count_alike_whatever_their_order(self):
        one, other = Bank(4, 3), Bank(4, 3)
        other.load_state_dict(one.state_dict())
        video_B, z_BD = torch.tensor([2, 0, 2]), unit(3)
        turn = torch.tensor([2, 1, 0])
        one.update(video_B, z_BD, video_B, 0.5)
        other.update(video_B[turn], z_BD[turn], video_B[turn], 0.5)
        assert torch.equal(one.entry_ND, other.entry_ND)

    def test_entries_keep_unit_norm(self):
        bank = Bank(5, 8)
        for seed in range(4):
            bank.update(torch.arange(3), unit(3, 8, seed), torch.arange(3), 0.5)
        torch.testing.assert_close(bank.entry_ND.norm(dim=1), torch.ones(5))

    def test_momentum_is_the_share_of_the_old_entry(self):
        bank = Bank(2, 3)
        before, z_BD = bank.entry_ND.clone(), unit(1)
        bank.update(torch.tensor([0]), z_BD, torch.tensor([0]), momentum=1.0)
        torch.testing.assert_close(bank.entry_ND, before)
        bank.update(torch.tensor([0]), z_BD, torch.tensor([0]), momentum=0.0)
        torch.testing.assert_close(bank.entry_ND[:1], z_BD)

    def test_the_work_does_not_grow_with_the_bank(self):
        """What is made on the way is the size of the batch, not of the bank."""
        small, large = (
            sum(tensor_sizes(Bank(videos, 4), torch.arange(3), unit(3, 4))) for videos in (10, 9999)
        )
        assert small == large

    def test_no_videos_are_refused(self):
        with pytest.raises(UserError, match="videos of the bank = 0"):
            Bank(0, 3)


def tensor_sizes(bank, video_B, z_BD):
    """The number of values in each tensor that an update makes, writes into the bank left out."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not function.__name__.startswith("index_put_"):
                sizes.append(result.numel())
            return result

    with Watch():
        bank.update(video_B, z_BD, video_B, 0.5)
    return sizes
