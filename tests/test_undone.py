"""Which optimizers may be recorded: those that train after the warm-up is undone as if there had been none."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training.step import build_step, can_be_recorded, undone

OPTIMIZERS = {name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
NOT_TRIED = {"Optimizer", "LBFGS", "SparseAdam", "Muon"}  # need a closure, sparse gradients, or matrices


def trained(kind: type[Optimizer], *, warms_up: bool, **settings: object) -> tuple[Optimizer, torch.Tensor]:
    """Return the optimizer and the weights after three steps, with or without steps before that were undone."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    inputs, targets = torch.randn(8, 4), torch.arange(8.0) % 2
    optimizer = kind(model.parameters(), lr=0.05, **settings)  # type: ignore[call-arg]
    step = build_step(model, optimizer, loss=cross_entropy, to_input=lambda images: images, device=torch.device("cpu"))
    if warms_up:
        with undone(step, model):
            for _ in range(4):
                step.run(inputs, targets)
    for _ in range(3):
        step.run(inputs, targets)
    return optimizer, model.weight.detach()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - NOT_TRIED))
def test_an_optimizer_that_may_be_recorded_begins_anew_after_the_warm_up(name: str) -> None:
    kind = OPTIMIZERS[name]
    optimizer, weights = trained(kind, warms_up=True)
    for group in optimizer.param_groups:  # as on a GPU
        group["capturable"] = "capturable" in inspect.signature(kind).parameters
    if can_be_recorded(optimizer):
        assert torch.equal(weights, trained(kind, warms_up=False)[1])


def test_sgd_with_dampening_and_others_that_do_not_begin_with_zeros_are_not_recorded() -> None:
    for kind, settings in (
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
        (torch.optim.NAdam, {"capturable": False}),
        (torch.optim.Rprop, {}),
    ):
        optimizer, weights = trained(kind, warms_up=True, **settings)
        assert not torch.equal(weights, trained(kind, warms_up=False, **settings)[1])
        for group in optimizer.param_groups:
            group["capturable"] = True
        assert not can_be_recorded(optimizer)
    optimizer, weights = trained(torch.optim.SGD, warms_up=True, momentum=0.9)
    assert torch.equal(weights, trained(torch.optim.SGD, warms_up=False, momentum=0.9)[1])
    assert can_be_recorded(optimizer)
