"""From a configured model to a network."""

from __future__ import annotations

from torch import nn

from dxa_tbs.config import AdhocConfig, ModelConfig, PretrainedConfig
from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.models.pretrained import build_pretrained


def build_model(model: ModelConfig) -> nn.Module:
    """Return the network, initialised from torch's generator: images (B, 3, 224, 224) to logits (B, 1) or (B, 2)."""
    if isinstance(model, AdhocConfig):
        return build_adhoc(model.filters, model.fc_widths)
    assert isinstance(model, PretrainedConfig)
    return build_pretrained(model.architecture, dropout=model.dropout, backbone_dropout=model.backbone_dropout)


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def trains_batchnorm(model: nn.Module) -> bool:
    """Return whether what the network makes of an image depends, in training, on the others of its batch."""
    return any(isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad for module in model.modules())
