"""Real runs of version 0.1.0 after three settings were added: still skipped, evaluated, repeated and reported.

runs_of_0_1_0/README.md says how they were made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import composed, defaults_of
from hydra import compose
from omegaconf import MISSING

from dxa_tbs.config import compose as config_compose
from dxa_tbs.config.compose import take_over_training

STORED = Path(__file__).parent / "runs_of_0_1_0"
