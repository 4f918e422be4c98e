"""Renders a patient's frame, with separate random streams for patient, pixels and record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dxa_tbs.data.phantom import scanner
from dxa_tbs.data.phantom.anatomy import Body, draw_spine
from dxa_tbs.data.phantom.population import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, LEVELS, Patient, sample_patient
from dxa_tbs.data.phantom.texture import AMPLITUDE_G_CM2, FIELD_PX, exponent_for, power_law_field

VERSION = 1  # raise when pixel values change, so that cached images are rendered again


@dataclass(frozen=True)
class Candidate:
    """Identifies a patient of a cohort; equal candidates have equal frames.

    Attributes:
        seed: of the cohort.
        index: of the patient in the cohort's unlimited sequence of patients.
        psf_cv, thickness_sd_cm: see conf/dataset/phantom.yaml.
    """

    seed: int
    index: int
    psf_cv: float
    thickness_sd_cm: float

    def stream(self, name: str) -> np.random.Generator:
        """Return the patient's random generator for a purpose: patient, pixels or record; they are independent."""
        purpose = ("patient", "pixels", "record").index(name)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.index, purpose)))

    def patient(self) -> Patient:
        return sample_patient(self.stream("patient"), psf_cv=self.psf_cv, thickness_sd_cm=self.thickness_sd_cm)


def read_frame(candidate: Candidate) -> np.ndarray:
    """Return the frame of a candidate, uint8 (280, 300)."""
    return render(candidate.patient(), candidate.stream("pixels"))[0]


def render(
    patient: Patient, rng: np.random.Generator, *, exponent_of: Callable[[float], float] = exponent_for
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame, uint8 (280, 300), and a map of the same shape with 1 to 4 well inside L1 to L4, else 0.

    Args:
        exponent_of: maps TBS to the exponent of the texture; the calibration script passes its own.
    """
    density, bodies = draw_spine(patient.spine, bmd_g_cm2=patient.bmd_g_cm2, rng=rng)
    for body, tbs in zip(bodies, patient.level_tbs, strict=True):
        _add_texture(density, body, exponent=exponent_of(tbs), gain=patient.texture_gain, rng=rng)
    detected = scanner.scan(density, thickness_cm=patient.thickness_cm, psf_gain=patient.psf_gain, rng=rng)
    interior = np.zeros((FRAME_HEIGHT_PX, FRAME_WIDTH_PX), np.uint8)
    for number in range(1, len(LEVELS) - 1):
        interior[bodies[number].window][bodies[number].interior] = number
    return scanner.display(detected, gain=patient.display_gain, offset=patient.display_offset), interior


def _add_texture(density: np.ndarray, body: Body, *, exponent: float, gain: float, rng: np.random.Generator) -> None:
    """Add a patch of texture to the density in place, weighted by the body."""
    field = np.float32(AMPLITUDE_G_CM2 * gain) * power_law_field(rng, exponent)
    rows, columns = body.window
    middle = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
    top, left = (max(0, at - FIELD_PX // 2) for at in middle)
    covered = density[top : top + FIELD_PX, left : left + FIELD_PX]
    weight = np.zeros_like(density)
    weight[body.window] = body.weight
    covered += field[: covered.shape[0], : covered.shape[1]] * weight[top : top + FIELD_PX, left : left + FIELD_PX]
