"""Generators are functions of their key."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvrl.utils.seed import integer_seed, numpy_rng, torch_generator

keys = st.lists(st.integers(0, 2**40), min_size=1, max_size=5).map(tuple)


@given(keys)
def test_the_same_key_gives_the_same_draws(key):
    assert (numpy_rng(*key).random(4) == numpy_rng(*key).random(4)).all()
    draws = [torch.rand(4, generator=torch_generator(*key)) for _ in range(2)]
    assert torch.equal(*draws)
    assert 0 <= integer_seed(*key) < 2**63


def without_zeros(key):
    """The key without zeros at its end, which change nothing."""
    return without_zeros(key[:-1]) if key and key[-1] == 0 else tuple(key)


@given(keys, keys)
def test_other_keys_give_other_draws(one, other):
    if without_zeros(one) != without_zeros(other):
        assert (numpy_rng(*one).random(4) != numpy_rng(*other).random(4)).any()
        assert integer_seed(*one) != integer_seed(*other)


def test_the_global_generator_is_left_alone():
    torch_state = torch.get_rng_state()
    numpy_rng(1).random()
    torch.rand(1, generator=torch_generator(1))
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_neighbouring_keys_are_uncorrelated():
    draws = np.stack([numpy_rng(0, epoch, 5).random(200) for epoch in range(20)])
    off_diagonal = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(off_diagonal).max() < 0.35
