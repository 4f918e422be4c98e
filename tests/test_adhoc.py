"""The four networks of Table II, layer by layer."""

from __future__ import annotations

import pytest
import torch
from conftest import composed

from dxa_tbs.config.schema import AdhocConfig
from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.models.inspection import count_parameters

PARAMETERS = {"model1": 3_400_081, "model2": 10_872_845, "model3": 2_169_545, "model4": 24_349_521}
PRINTED = {"model1": "3.400e6", "model2": "1.087e7", "model3": "2.169e6", "model4": "2.434e7"}
SHAPES = {
    "model1": {
        "conv1": (8, 222, 222), "pool1": (8, 111, 111), "conv2": (16, 109, 109), "pool2": (16, 54, 54),
        "conv3": (32, 52, 52), "pool3": (32, 26, 26), "conv4": (64, 24, 24), "pool4": (64, 12, 12),
        "conv5": (128, 10, 10), "pool5": (128, 5, 5), "flatten": (3200,), "fc1": (1000,), "fc2": (100,), "logit": (1,),
    },
    "model2": {
        "conv1": (8, 222, 222), "pool1": (8, 111, 111), "conv2": (16, 109, 109), "pool2": (16, 54, 54),
        "conv3": (32, 52, 52), "pool3": (32, 26, 26), "flatten": (21632,), "fc1": (500,), "fc2": (100,), "logit": (1,),
    },
    "model3": {
        "conv1": (8, 222, 222), "pool1": (8, 111, 111), "conv2": (16, 109, 109), "pool2": (16, 54, 54),
        "conv3": (32, 52, 52), "pool3": (32, 26, 26), "flatten": (21632,), "fc1": (100,), "logit": (1,),
    },
    "model4": {
        "conv1": (8, 222, 222), "pool1": (8, 111, 111), "conv2": (28, 109, 109), "pool2": (28, 54, 54),
        "conv3": (36, 52, 52), "pool3": (36, 26, 26), "flatten": (24336,), "fc1": (1000,), "logit": (1,),
    },
}  # fmt: skip


def network(name: str) -> torch.nn.Sequential:
    model = composed(f"model={name}").model
    assert isinstance(model, AdhocConfig)
    return build_adhoc(model.filters, model.fc_widths)


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_parameter_counts_are_the_papers_which_are_truncated_to_four_digits(name: str) -> None:
    count = count_parameters(network(name))
    assert count == PARAMETERS[name]
    power = len(str(count)) - 1
    assert f"{int(count / 10 ** (power - 3)) / 1000:.3f}e{power}" == PRINTED[name]


@pytest.mark.parametrize("name", list(SHAPES))
def test_every_layer_has_the_shape_the_paper_implies(name: str) -> None:
    shapes, signal = {}, torch.zeros(2, 3, 224, 224)
    for layer, module in network(name).eval().named_children():
        signal = module(signal)
        shapes[layer] = tuple(signal.shape[1:])
    plain = {layer: shape for layer, shape in shapes.items() if not layer.startswith(("bn", "relu", "fc_relu"))}
    assert plain == SHAPES[name]


def test_a_block_is_convolution_batchnorm_relu_pooling_and_the_last_layer_has_no_activation() -> None:
    names = list(dict(network("model3").named_children()))
    assert names[:4] == ["conv1", "bn1", "relu1", "pool1"]
    assert names[-3:] == ["fc1", "fc_relu1", "logit"]
