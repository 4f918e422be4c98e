"""Can a CNN tell degraded from normal trabecular bone in a spine DXA image? An experiment runner.

    config = dxa_tbs.compose(["model=model3"])   # as on the command line
    run = dxa_tbs.train(config)                  # trains and tests, unless the run is finished
    run = dxa_tbs.load_run("outputs/...")        # a finished run
    frame = dxa_tbs.load_study("outputs")        # the results of all experiments

They are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Run", "compose", "load_run", "load_study", "train"]

if TYPE_CHECKING:
    from dxa_tbs.api import Run, compose, load_run, load_study, train
else:

    def __getattr__(name):
        import importlib

        if name == "train":  # also the module of the command line: the module can be called
            return importlib.import_module("dxa_tbs.train")
        if name in __all__:
            return getattr(importlib.import_module("dxa_tbs.api"), name)
        raise AttributeError(f"module 'dxa_tbs' has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
