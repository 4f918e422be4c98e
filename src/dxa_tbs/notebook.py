"""The steps of a run one by one: each takes values and returns values. For whole runs, see `dxa_tbs.api`.

Only the cache of images is written:

>>> from dxa_tbs.notebook import compose, predict, prepare, test, train
>>> config = compose(["model=model3", "dataset.num_normal=40", "dataset.num_degraded=20", "split=stratified",
...                   "split.val_fraction=0.2", "split.test_fraction=0.2", "trainer.epochs=2"])
>>> prepared = prepare(config)
>>> trained = train(prepared.development, config)
>>> list(trained.history.columns[:4])
['epoch', 'train_loss', 'watched_loss', 'val_originals_loss']
>>> scores = test(trained, prepared)
>>> list(scores.columns)
['image_id', 'split', 'label', 'score']

Score other images with a finished run:

>>> import dxa_tbs
>>> predict(dxa_tbs.train(config).folder, prepared.test.pixels).shape
(12, 2)
"""

from __future__ import annotations

from dxa_tbs.api import compose
from dxa_tbs.pipeline.predict import predict
from dxa_tbs.pipeline.prepare import prepare
from dxa_tbs.pipeline.test import test
from dxa_tbs.pipeline.train import train

__all__ = ["compose", "predict", "prepare", "test", "train"]
