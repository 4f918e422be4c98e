"""Whether operations of the user's own give the same image again: they must draw random numbers from `rng` alone."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_array

NUM_TRIED = 16  # images; each is made twice


def require_repeatable(make: Callable[[int], np.ndarray], num_images: int, *, names: str) -> list[str]:
    """Return the SHA-256 of the first images that `make` makes, after checking that they can be made again.

    Args:
        make: returns the changed image with this number; called from several threads.
        num_images: how many there are.
        names: of the operations, for messages.

    Raises:
        Refusal: an operation draws from global random numbers, or an image differs when it is made again.
    """
    tried = range(min(num_images, NUM_TRIED))
    before = _global_states()
    first = [sha256_of_array(make(number)) for number in tried]
    if changed := [name for name, state in _global_states().items() if before.get(name, state) != state]:
        raise Refusal(
            f"augmentation.operations: {names} changes the global random numbers of {' and '.join(changed)}: draw "
            "from rng, or seed a generator of its own with rng.integers(2**63)"
        )
    with ThreadPoolExecutor(max_workers=4) as pool:
        again = list(pool.map(lambda number: sha256_of_array(make(number)), tried))
    if first != again:
        raise Refusal(
            f"augmentation.operations: {names} does not give the same image twice: draw all random numbers from rng, "
            "and keep nothing between calls, which come from several threads"
        )
    return first


def _global_states() -> dict[str, bytes]:
    """Return the state of each global random number generator of this process."""
    states = {"random": pickle.dumps(random.getstate()), "numpy": pickle.dumps(np.random.get_state())}
    if torch := sys.modules.get("torch"):  # this room does not import it
        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states
