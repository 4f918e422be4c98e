"""Settings with a fixed set of values. All rooms may import them: they are plain values, not part of the schema."""

from __future__ import annotations

from enum import Enum

PLAUSIBLE_TBS = (0.3, 2.2)  # NHANES 2007-08, single vertebrae: 0.65 to 1.78


class LabelRule(Enum):
    binary = "binary"
    extremes = "extremes"


class LabelSource(Enum):
    auto = "auto"
    tbs = "tbs"
    label = "label"


class Fit(Enum):
    crop = "crop"
    resize = "resize"


class Region(Enum):
    whole = "whole"
    vertebrae = "vertebrae"
    background = "background"


class Interpolation(Enum):
    bilinear = "bilinear"
    bicubic = "bicubic"


class When(Enum):
    """When the images of an augmentation are made: once, as copies beside the originals, or anew in each epoch."""

    copies = "copies"
    epoch = "epoch"


class Architecture(Enum):
    alexnet = "alexnet"
    resnet18 = "resnet18"
    vgg16 = "vgg16"
    densenet121 = "densenet121"
    squeezenet = "squeezenet"


class NearDuplicates(Enum):
    refuse = "refuse"
    warn = "warn"


class FrozenBatchNorm(Enum):
    eval = "eval"
    train = "train"


class Precision(Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    tf32 = "tf32"


class TestEpoch(Enum):
    __test__ = False  # not a test case, although its name starts with Test

    best = "best"
    last = "last"


class Watched(Enum):
    all = "all"
    originals = "originals"


class WandbMode(Enum):
    offline = "offline"
    online = "online"
