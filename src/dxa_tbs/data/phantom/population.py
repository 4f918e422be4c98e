"""The patients: age, TBS, bone density, body size, and shape of the spine. Pixels are not drawn here.

Sources: D13 is Dufour 2013 (5942 French women, Lunar Prodigy); NHANES is the 2007-08 spine file (areas, BMD); K15 is
Krueger 2015 (precision of TBS); "paper" is its section III.A. "Set" marks values chosen so that images and measured
slopes look right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = ("T12", "L1", "L2", "L3", "L4", "L5")
SCORED = slice(1, 5)  # L1 to L4; TBS is the mean over these levels

FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 300, 280  # paper: "approximately 300 x 280"
SPACING_MM = 0.6  # exported frames: 180 mm over 300 columns, rows resampled to square pixels

AGE_MEAN_YEARS, AGE_SD_YEARS = 64.6, 10.7  # paper
# TBS_MEAN (at the mean age), TBS_PER_YEAR and TBS_SD_WITHIN_AGE together put a quarter of the patients at or below
# 1.200 (paper: 371 / 1469).
TBS_MEAN = 1.270  # set
TBS_PER_YEAR = -0.0042  # D13: -14.5 % from 45 to 85 years
TBS_SD_WITHIN_AGE = 0.095  # set; literature 0.09 to 0.11
TBS_LEVEL_SD = 0.045  # between the vertebrae of one patient; set
TBS_LEVEL_OFFSETS = (-0.030, -0.030, -0.005, 0.015, 0.020, 0.020)  # TBS rises from T12 to L5; NHANES level ranges
BMD_MEAN_G_CM2, BMD_SD_G_CM2 = 1.05, 0.16  # NHANES
BMI_MEAN, BMI_SD = 26.5, 4.2  # kg/m2; TBS is defined for 17 to 37 (v3)
TBS_BMD_CORRELATION, TBS_BMI_CORRELATION = 0.35, -0.20  # literature: 0.3 to 0.6; weakly negative (D13)
THICKNESS_MEAN_CM, THICKNESS_PER_BMI_CM = 20.0, 0.62  # soft tissue in the beam; set
SCALE_SD = 0.045  # relative body size; set
BODY_HEIGHTS_MM = (25.0, 26.0, 26.5, 26.8, 26.5, 25.5)  # T12 to L5, women; NHANES areas
BODY_WIDTHS_MM = (38.5, 39.5, 41.0, 43.5, 46.5, 50.0)
DISC_HEIGHTS_MM = (6.0, 7.0, 8.0, 9.0, 9.5)
TILT_SD_DEG, BOW_SD_MM = 1.5, 2.0  # positioning and mild curvature; the protocol allows 5 degrees
PLACEMENT_SD_MM = 3.0  # of the spine in the frame; set
SPINOUS_SHIFT_SD_MM = 1.2  # axial rotation shifts the spinous processes sideways; set


@dataclass(frozen=True)
class Spine:
    """Centres and sizes of the six vertebral bodies in mm; arrays of shape (6,), T12 first; y grows downwards."""

    x_mm: np.ndarray
    y_mm: np.ndarray
    heights_mm: np.ndarray
    widths_mm: np.ndarray
    scale: float
    spinous_shift_mm: float

    def roi_px(self) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 of the box around L1 to L4, in pixels to one decimal."""
        half_width, half_height = self.widths_mm[SCORED] / 2, self.heights_mm[SCORED] / 2
        edges_mm = (
            (self.x_mm[SCORED] - half_width).min(),
            (self.y_mm[SCORED] - half_height).min(),
            (self.x_mm[SCORED] + half_width).max(),
            (self.y_mm[SCORED] + half_height).max(),
        )
        x0, y0, x1, y1 = (round(float(edge) / SPACING_MM, 1) for edge in edges_mm)
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Patient:
    """The patient as shown in the image. `tbs` is the true value; the recorded one comes from `recorded_tbs`."""

    age: float
    tbs: float
    level_tbs: np.ndarray
    bmd_g_cm2: float
    bmi: float
    thickness_cm: float
    texture_gain: float
    psf_gain: float
    display_gain: float
    display_offset: float
    spine: Spine


def sample_patient(rng: np.random.Generator, *, psf_cv: float, thickness_sd_cm: float) -> Patient:
    """Draw a patient. The arguments change only their own attributes: the sequence of draws is always the same."""
    age = float(np.clip(rng.normal(AGE_MEAN_YEARS, AGE_SD_YEARS), 35.0, 92.0))
    tbs = population_tbs(age, rng.standard_normal())
    tbs_z = (tbs - TBS_MEAN) / np.hypot(TBS_SD_WITHIN_AGE, TBS_PER_YEAR * AGE_SD_YEARS)
    bmd = BMD_MEAN_G_CM2 + BMD_SD_G_CM2 * _correlated(rng, tbs_z, TBS_BMD_CORRELATION)
    bmi = float(np.clip(BMI_MEAN + BMI_SD * _correlated(rng, tbs_z, TBS_BMI_CORRELATION), 17.0, 37.0))
    thickness = THICKNESS_MEAN_CM + THICKNESS_PER_BMI_CM * (bmi - BMI_MEAN) + thickness_sd_cm * rng.standard_normal()
    level_tbs = tbs + _centred(np.array(TBS_LEVEL_OFFSETS)) + _centred(TBS_LEVEL_SD * rng.standard_normal(len(LEVELS)))
    return Patient(
        age=age,
        tbs=tbs,
        level_tbs=level_tbs,
        bmd_g_cm2=float(np.clip(bmd, 0.55, 1.70)),
        bmi=bmi,
        thickness_cm=float(np.clip(thickness, 13.0, 30.0)),
        texture_gain=float(np.exp(0.15 * rng.standard_normal())),
        psf_gain=float(np.exp(psf_cv * rng.standard_normal())),
        display_gain=float(np.exp(0.06 * rng.standard_normal())),
        display_offset=float(0.02 * rng.standard_normal()),
        spine=_sample_spine(rng),
    )


def population_tbs(age: float, z: float) -> float:
    """Return the TBS `z` standard deviations above the mean at an age in years."""
    return float(TBS_MEAN + TBS_PER_YEAR * (age - AGE_MEAN_YEARS) + TBS_SD_WITHIN_AGE * z)


def recorded_tbs(rng: np.random.Generator, patient: Patient, *, has_signal: bool, reader_sd: float) -> float:
    """Return the TBS on the patient's record, rounded to three decimals as in clinical reports.

    Args:
        has_signal: if False, the recorded TBS is that of another person and unrelated to the image.
        reader_sd: standard deviation of the part of the record that the image does not show: precision error (K15:
            0.02), correction for body mass, manual edits of the region.
    """
    reader_z, stranger_age, stranger_z = rng.standard_normal(3)
    tbs = patient.tbs if has_signal else population_tbs(AGE_MEAN_YEARS + AGE_SD_YEARS * stranger_age, stranger_z)
    return round(float(tbs + reader_sd * reader_z), 3)


def _sample_spine(rng: np.random.Generator) -> Spine:
    scale = float(np.clip(1 + SCALE_SD * rng.standard_normal(), 0.88, 1.12))
    heights = np.array(BODY_HEIGHTS_MM) * scale * (1 + 0.02 * rng.standard_normal(6))
    widths = np.array(BODY_WIDTHS_MM) * scale * (1 + 0.02 * rng.standard_normal(6))
    discs = np.array(DISC_HEIGHTS_MM) * scale * (1 + 0.12 * rng.standard_normal(5))
    tilt = np.tan(np.deg2rad(TILT_SD_DEG * rng.standard_normal()))
    bow_mm, shift_x_mm, shift_y_mm = rng.standard_normal(3) * (BOW_SD_MM, PLACEMENT_SD_MM, PLACEMENT_SD_MM)

    y = np.concatenate([[0.0], np.cumsum(heights[:-1] / 2 + discs + heights[1:] / 2)])
    y -= (y[1] - heights[1] / 2 + y[4] + heights[4] / 2) / 2  # from here on 0 is the middle of L1-L4
    y += shift_y_mm
    x = FRAME_WIDTH_PX * SPACING_MM / 2 + shift_x_mm + tilt * y + bow_mm * np.cos(np.pi / 2 * y / 70.0)
    y += FRAME_HEIGHT_PX * SPACING_MM / 2
    return Spine(x, y, heights, widths, scale, float(SPINOUS_SHIFT_SD_MM * rng.standard_normal()))


def _correlated(rng: np.random.Generator, z: float, correlation: float) -> float:
    return float(correlation * z + np.sqrt(1 - correlation**2) * rng.standard_normal())


def _centred(levels: np.ndarray) -> np.ndarray:
    """Return the values shifted so that their mean over L1 to L4 is zero, which keeps the patient's TBS."""
    return np.asarray(levels - levels[SCORED].mean())
