"""The phantom: class counts, determinism, and images that show the requested TBS."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from dxa_tbs.config.choices import LabelRule
from dxa_tbs.data.labels import label_tbs
from dxa_tbs.data.phantom import population
from dxa_tbs.data.phantom.cohort import export_cohort, phantom_cohort
from dxa_tbs.data.phantom.population import recorded_tbs
from dxa_tbs.data.phantom.render import Candidate, read_frame, render
from dxa_tbs.data.phantom.texture import CALIBRATION_EXPONENT, CALIBRATION_SLOPE, exponent_for, power_law_field
from dxa_tbs.data.variogram import variogram, variogram_slope
from dxa_tbs.errors import Refusal

PAPER_LABELS = functools.partial(label_tbs, rule=LabelRule.binary, degraded_max=1.2, normal_min=1.35)


def cohort(**changes: object) -> pd.DataFrame:
    settings = dict(seed=0, num_normal=30, num_degraded=15, label=PAPER_LABELS, has_signal=True, tbs_reader_sd=0.035)
    return phantom_cohort(**settings | dict(psf_cv=0.03, thickness_sd_cm=1.0) | changes)  # type: ignore[arg-type]


def candidates(count: int) -> list[Candidate]:
    return [Candidate(7, index, psf_cv=0.03, thickness_sd_cm=1.0) for index in range(count)]


def test_each_class_has_exactly_the_requested_number_of_patients() -> None:
    table = cohort()
    assert table["label"].value_counts().to_dict() == {0: 30, 1: 15}
    assert ((table["tbs"] <= 1.2) == (table["label"] == 1)).all()
    assert table["patient_id"].is_unique


def test_equal_candidates_have_equal_pixels_and_another_seed_has_others() -> None:
    assert np.array_equal(read_frame(Candidate(0, 3, 0.03, 1.0)), read_frame(Candidate(0, 3, 0.03, 1.0)))
    assert not np.array_equal(read_frame(Candidate(0, 3, 0.03, 1.0)), read_frame(Candidate(1, 3, 0.03, 1.0)))


def test_reader_noise_changes_the_record_and_not_the_pixels() -> None:
    one = Candidate(0, 5, 0.03, 1.0)
    exact = recorded_tbs(one.stream("record"), one.patient(), has_signal=True, reader_sd=0.0)
    noisy = recorded_tbs(one.stream("record"), one.patient(), has_signal=True, reader_sd=0.035)
    assert exact == round(one.patient().tbs, 3)
    assert exact != noisy
    sources = [set(cohort(tbs_reader_sd=sd)["source"]) for sd in (0.0, 0.035)]
    assert sources[0] & sources[1]  # some candidates, and so their frames, are in both cohorts


def test_the_population_agrees_with_the_paper() -> None:
    people = [candidate.patient() for candidate in candidates(3000)]
    ages, tbs = np.array([person.age for person in people]), np.array([person.tbs for person in people])
    assert ages.mean() == pytest.approx(64.6, abs=0.6)
    assert (tbs <= 1.2).mean() == pytest.approx(371 / 1469, abs=0.03)
    levels = np.array([person.level_tbs[1:5].mean() for person in people])
    assert levels == pytest.approx(tbs)


def test_the_slope_measured_in_the_image_follows_the_tbs() -> None:
    people = candidates(80)
    measured = [variogram_slope(*render(one.patient(), one.stream("pixels"))) for one in people]
    truth = [one.patient().tbs for one in people]
    assert np.corrcoef(truth, measured)[0, 1] > 0.75  # 0.87 over 1469 patients; anatomy, noise and blur cause the rest
    assert np.mean(np.subtract(measured, truth)) == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("tbs", [1.10, 1.27, 1.45])
def test_at_nominal_blur_and_noise_the_measured_slope_is_the_requested_tbs(tbs: float) -> None:
    slopes = []
    for candidate in [Candidate(11, index, psf_cv=0.0, thickness_sd_cm=0.0) for index in range(16)]:
        patient = dataclasses.replace(
            candidate.patient(),
            level_tbs=np.full(6, tbs),
            bmd_g_cm2=population.BMD_MEAN_G_CM2,
            thickness_cm=population.THICKNESS_MEAN_CM,
            texture_gain=1.0,
            display_gain=1.0,
            display_offset=0.0,
        )
        slopes.append(variogram_slope(*render(patient, candidate.stream("pixels"))))
    assert np.mean(slopes) == pytest.approx(tbs, abs=0.03)  # the SD between patients is 0.036


def test_without_signal_the_record_is_unrelated_to_the_patient() -> None:
    people = candidates(2000)
    records = [recorded_tbs(one.stream("record"), one.patient(), has_signal=False, reader_sd=0.035) for one in people]
    truth = [one.patient().tbs for one in people]
    assert stats.pearsonr(records, truth).pvalue > 0.01
    assert np.mean(np.array(records) <= 1.2) == pytest.approx(371 / 1469, abs=0.04)


def test_the_texture_has_the_variogram_of_a_power_law() -> None:
    rng = np.random.default_rng(0)
    everywhere = np.ones((128, 128), bool)
    fields = [power_law_field(rng, 0.6) for _ in range(100)]
    mean = np.mean([variogram(field, everywhere, 4) for field in fields], axis=0)
    assert mean == pytest.approx(2 * (np.arange(1, 5) / 4) ** 0.6, rel=0.1)


def test_exponents_pass_through_the_knots_and_are_extrapolated_linearly() -> None:
    assert [exponent_for(slope) for slope in CALIBRATION_SLOPE] == pytest.approx(CALIBRATION_EXPONENT)
    assert exponent_for(0.5) == 0.02
    assert exponent_for(2.5) == 1.9


def test_the_region_encloses_the_four_vertebrae_and_lies_in_the_frame() -> None:
    for candidate in candidates(20):
        frame, interior = render(candidate.patient(), candidate.stream("pixels"))
        x0, y0, x1, y1 = candidate.patient().spine.roi_px()
        rows, columns = np.nonzero(interior)
        assert set(np.unique(interior)) == {0, 1, 2, 3, 4}
        assert x0 < columns.min() < columns.max() < x1 < frame.shape[1]
        assert y0 < rows.min() < rows.max() < y1 < frame.shape[0]


def test_a_class_that_cannot_be_filled_is_refused() -> None:
    never = functools.partial(label_tbs, rule=LabelRule.binary, degraded_max=0.31, normal_min=1.35)
    with pytest.raises(Refusal, match="could not be found"):
        cohort(label=never, num_normal=1, num_degraded=1)


def test_an_exported_cohort_has_the_same_pixels_and_no_label(tmp_path: Path) -> None:
    table = cohort(num_normal=2, num_degraded=1)
    csv = export_cohort(table, tmp_path / "hospital")
    written = pd.read_csv(csv)
    assert "label" not in written
    assert written["tbs"].tolist() == table["tbs"].tolist()
    for row, candidate in zip(written.itertuples(), table["source"], strict=True):
        with Image.open(csv.parent / str(row.path)) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), read_frame(candidate))
