"""What the two reference scripts share: the networks in their plain form, and the paper's optimizer."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from torch import nn

from dxa_tbs.config import Architecture
from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.models.pretrained import build_pretrained, freeze_backbone

MODELS = Path(__file__).parents[1] / "conf" / "model"


def build_reference(name: str, approach: str) -> nn.Module:
    """Return a network of conf/model, randomly initialised; in approach head all but its last layer is frozen."""
    settings = yaml.safe_load((MODELS / f"{name}.yaml").read_text(encoding="utf-8"))
    if approach == "adhoc":
        return build_adhoc(settings["filters"], settings["fc_widths"])
    dropouts = {key: settings[key] for key in ("dropout", "backbone_dropout")}
    model = build_pretrained(Architecture(settings["architecture"]), **dropouts)
    if approach == "head":
        freeze_backbone(model)
    return model


def build_sgd(model: nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=1e-4, momentum=0.9)


def enter_training(model: nn.Module) -> None:
    """Switch to training; BatchNorm layers that are frozen stay as they are, as in the product's default."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of one logit, or of two, per image."""
    if logits.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    return nn.functional.cross_entropy(logits, labels)
