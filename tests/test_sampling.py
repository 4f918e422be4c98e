"""The order of the training images."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from dxa_tbs.training.sampling import balanced, shuffle


def test_shuffling_takes_each_image_once_in_the_order_of_torchs_own_permutations() -> None:
    generator = torch.Generator().manual_seed(7)
    for order in islice(shuffle(torch.zeros(50), seed=7), 3):
        assert torch.equal(order, torch.randperm(50, generator=generator))


@pytest.mark.parametrize("counts", [(30, 10), (31, 10), (7, 20, 2), (5, 5), (1, 60)], ids=str)
def test_balanced_epochs_have_equal_shares_and_use_the_images_of_a_class_equally_often(counts: tuple[int, ...]) -> None:
    targets = torch.cat([torch.full((count,), float(number)) for number, count in enumerate(counts)])
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    drawn = torch.zeros(len(targets), dtype=torch.long)
    for order in islice(balanced(targets, seed=3), 7):
        assert len(order) == len(targets)
        shares = [int((targets[order] == number).sum()) for number in range(len(counts))]
        assert max(shares) - min(shares) <= 1
        drawn += order.bincount(minlength=len(targets))
        for number in range(len(counts)):
            of_class = drawn[targets == number]
            assert of_class.max() - of_class.min() <= 1
    totals = [int(drawn[targets == number].sum()) for number in range(len(counts))]
    assert max(totals) - min(totals) <= 1  # no class has the odd image in every epoch


def test_balanced_orders_repeat_with_the_seed_and_mix_the_classes() -> None:
    targets = torch.arange(40) // 30
    one, again, other = (list(islice(balanced(targets, seed=seed), 4)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[1])
    first_half = targets[one[0]][:20].float().mean().item()
    assert 0.2 < first_half < 0.8  # not one class after the other
