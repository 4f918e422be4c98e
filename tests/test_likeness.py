"""Near-duplicates on phantoms: copies of every kind are found, different patients are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dxa_tbs.data.audit import check_near_duplicates, check_nearly_unseen
from dxa_tbs.data.likeness import BLOCK, HALF, MIN_CORRELATION, Pair, compute_signature, find_alike
from dxa_tbs.data.phantom.render import Candidate, read_frame
from dxa_tbs.errors import Refusal

NUM_FRAMES = 150
NUM_MORE = 1000
NUM_COPIED = 50
RNG = np.random.default_rng(0)


def jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def shifted(frame: np.ndarray, right: int, down: int) -> np.ndarray:
    return np.roll(np.pad(frame, 2, mode="edge"), (down, right), (0, 1))[2:-2, 2:-2]


def brightened(frame: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(np.round(frame * factor), 0, 255).astype(np.uint8)


def noised(frame: np.ndarray, sd: float) -> np.ndarray:
    return np.clip(frame + RNG.normal(0, sd, frame.shape), 0, 255).astype(np.uint8)


def resized(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


FOUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{f"JPEG {quality}": lambda frame, quality=quality: jpeg(frame, quality) for quality in (95, 75, 50)},  # type: ignore[misc]
    "right by 1": lambda frame: shifted(frame, 1, 0),
    "up by 1": lambda frame: shifted(frame, 0, -1),
    "right and down by 1": lambda frame: shifted(frame, 1, 1),
    "brighter by 20 %": lambda frame: brightened(frame, 1.2),
    "darker by 20 %": lambda frame: brightened(frame, 0.8),
    "noise 10": lambda frame: noised(frame, 10),
    "resized": lambda frame: resized(frame, 224, 224),
    "enlarged": lambda frame: resized(frame, 600, 560),
    "mirrored": lambda frame: frame[:, ::-1],
    "mirrored, JPEG 75": lambda frame: jpeg(frame[:, ::-1], 75),
    "padded": lambda frame: np.pad(frame, ((50, 30), (0, 90))),
    "padded with white, JPEG 50": lambda frame: jpeg(np.pad(frame, 40, constant_values=255), 50),
}


def render(seed: int, num: int) -> list[np.ndarray]:
    jobs = (joblib.delayed(read_frame)(Candidate(seed, index, 0.03, 1.0)) for index in range(num))
    return list(joblib.Parallel(n_jobs=-1)(jobs))


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return render(3, NUM_FRAMES)


@pytest.fixture(scope="module")
def signatures(frames: list[np.ndarray]) -> np.ndarray:
    return np.stack([compute_signature(frame) for frame in frames])


def test_no_two_different_phantoms_are_alike(signatures: np.ndarray) -> None:
    assert list(find_alike(signatures)) == []
    others = signatures[NUM_FRAMES // 2 :]
    assert list(find_alike(signatures[: NUM_FRAMES // 2], others)) == []


@pytest.mark.slow
def test_no_two_of_many_different_phantoms_are_alike() -> None:
    assert list(find_alike(np.stack([compute_signature(frame) for frame in render(4, NUM_MORE)]))) == []


@pytest.mark.parametrize("change", FOUND.values(), ids=FOUND.keys())
def test_only_the_altered_copies_are_found(
    change: Callable[[np.ndarray], np.ndarray],
    frames: list[np.ndarray],
    signatures: np.ndarray,
    request: pytest.FixtureRequest,
) -> None:
    chosen = range(0, NUM_FRAMES, NUM_FRAMES // NUM_COPIED)
    copies = np.stack([compute_signature(change(frames[row])) for row in chosen])
    pairs = list(find_alike(copies, signatures))
    assert [(pair.first, pair.second) for pair in pairs] == list(enumerate(chosen))
    assert all(MIN_CORRELATION <= pair.correlation < 1.0001 for pair in pairs)
    assert {pair.is_mirrored for pair in pairs} == {"mirrored" in request.node.callspec.id}


def test_signatures_are_integers_that_use_the_whole_range(signatures: np.ndarray) -> None:
    assert signatures.dtype == np.int8
    assert signatures.shape == (NUM_FRAMES, 2 * HALF)
    assert (np.abs(signatures).max(axis=1) == 127).all()


def test_an_image_without_structure_is_like_no_other() -> None:
    flat = compute_signature(np.full((50, 60), 7, np.uint8))
    assert not flat.any()
    assert list(find_alike(np.stack([flat, flat]))) == []


def test_blocks_miss_no_pair_and_count_none_twice() -> None:
    many = np.random.default_rng(0).integers(-127, 128, (2 * BLOCK + 10, 2 * HALF), dtype=np.int8)
    for first, second in ((0, 1), (5, BLOCK + 5), (BLOCK - 1, BLOCK), (3, 2 * BLOCK + 9), (2 * BLOCK, 2 * BLOCK + 1)):
        many[second] = many[first]
    many[7, HALF:], many[7, :HALF] = -many[2 * BLOCK + 3, HALF:], many[2 * BLOCK + 3, :HALF]
    pairs = list(find_alike(many))
    assert {(pair.first, pair.second) for pair in pairs} == {
        (0, 1), (5, BLOCK + 5), (BLOCK - 1, BLOCK), (3, 2 * BLOCK + 9), (2 * BLOCK, 2 * BLOCK + 1), (7, 2 * BLOCK + 3),
    }  # fmt: skip
    assert len(pairs) == 6
    assert [pair for pair in pairs if pair.is_mirrored] == [Pair(7, 2 * BLOCK + 3, pytest.approx(1), True)]


def test_the_image_rebuilt_from_a_signature_shows_no_patient(frames: list[np.ndarray]) -> None:
    from dxa_tbs.data import likeness

    projections, half = likeness._projections(), likeness.SIDE_PX // 2
    for frame in frames[:20]:
        signature = compute_signature(frame).astype(float)
        even, odd = projections[0].T @ signature[:HALF], projections[1].T @ signature[HALF:]
        left, right = (part.reshape(2 * half, half) for part in (even + odd, even - odd))
        small = np.asarray(Image.fromarray(frame).resize((2 * half, 2 * half), Image.Resampling.BOX), float)
        assert abs(np.corrcoef(np.hstack([left, right[:, ::-1]]).ravel(), small.ravel())[0, 1]) < 0.2


def cohort(patients: str, sides: str) -> pd.DataFrame:
    names = [f"i{row}" for row in range(len(patients))]
    table = pd.DataFrame({"image_id": names, "patient_id": list(patients), "sha256": names, "label": 0})
    table["split"] = [{"t": "train", "v": "val", "x": "test"}[side] for side in sides]
    return table.assign(source=[Path(f"{name}.png") for name in names])


def test_near_duplicates_of_different_patients_on_two_sides_are_refused(
    frames: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    copies = [frames[0], jpeg(frames[0], 75), frames[1], frames[2]]
    signatures = np.stack([compute_signature(frame) for frame in copies])
    with pytest.raises(Refusal, match=r"1 pairs .* nearly the same: give them the same patient_id") as refusal:
        check_near_duplicates(cohort("abcd", "txvx"), signatures, refuses=True)
    assert len(refusal.value.details) == 1
    assert refusal.value.details[0].startswith("i0 (train, i0.png) ~ i1 (test, i1.png): correlation ")
    check_near_duplicates(cohort("abcd", "txvx"), signatures, refuses=False)
    assert "1 pairs of images of different patients on two sides" in caplog.text
    caplog.clear()
    check_near_duplicates(cohort("abcd", "ttvx"), signatures, refuses=True)
    assert "1 pairs of images of different patients on one side" in caplog.text
    caplog.clear()
    check_near_duplicates(cohort("aacd", "ttvx"), signatures, refuses=True)
    assert caplog.text == ""


def test_near_duplicates_of_a_runs_training_images_are_refused(frames: list[np.ndarray]) -> None:
    test = np.stack([compute_signature(frame) for frame in (frames[5], frames[1][:, ::-1])])
    seen = np.stack([compute_signature(frame) for frame in frames[:3]])
    with pytest.raises(
        Refusal, match=r"1 pairs of a test image and an image the run was trained or validated on"
    ) as refusal:
        check_nearly_unseen(cohort("ab", "xx"), test, cohort("cde", "ttv"), seen, refuses=True)
    assert refusal.value.details[0].startswith("i1 ~ i1 of the run: correlation")
    assert refusal.value.details[0].endswith(", mirrored")
