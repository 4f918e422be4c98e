"""Recompute the phantom's calibration table: the slope measured in the final image for each exponent of the texture.

All patients have nominal thickness, density, blur and amplitude, so that the slope depends only on the texture. Prints
the two tuples for dxa_tbs/data/phantom/texture.py, and the largest difference from the present ones.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from dxa_tbs.data.phantom import population
from dxa_tbs.data.phantom.population import Patient
from dxa_tbs.data.phantom.render import Candidate, render
from dxa_tbs.data.phantom.texture import CALIBRATION_EXPONENT, CALIBRATION_SLOPE
from dxa_tbs.data.variogram import variogram_slope


def nominal(patient: Patient) -> Patient:
    """Return the patient with nominal values; only age, BMI, TBS and spine remain individual."""
    return dataclasses.replace(
        patient,
        bmd_g_cm2=population.BMD_MEAN_G_CM2,
        thickness_cm=population.THICKNESS_MEAN_CM,
        texture_gain=1.0,
        psf_gain=1.0,
        display_gain=1.0,
        display_offset=0.0,
    )


def measure(exponent: float, num_patients: int) -> float:
    """Return the mean slope over patients with this exponent of the texture."""
    slopes = []
    for index in range(num_patients):
        candidate = Candidate(10_000, index, psf_cv=0.0, thickness_sd_cm=0.0)
        patient = nominal(candidate.patient())
        slopes.append(variogram_slope(*render(patient, candidate.stream("pixels"), exponent_of=lambda _: exponent)))
    return float(np.mean(slopes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=64, help="number of patients per exponent")
    slopes = [measure(exponent, parser.parse_args().patients) for exponent in CALIBRATION_EXPONENT]
    print("CALIBRATION_SLOPE =", tuple(round(slope, 4) for slope in slopes))
    print("CALIBRATION_EXPONENT =", CALIBRATION_EXPONENT)
    print("largest difference from the table in use:", round(max(abs(np.subtract(slopes, CALIBRATION_SLOPE))), 4))


if __name__ == "__main__":
    main()
