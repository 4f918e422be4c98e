"""File names as in hospitals and public data sets, and which of them look like repeats of one subject."""

from __future__ import annotations

import pytest

from dxa_tbs.data.repeats import find_repeats

Names = tuple[list[str], list[str]]  # of the two class folders


def numbered(pattern: str, *numbers: int) -> list[str]:
    first, last = numbers if len(numbers) == 2 else (1, numbers[0])
    return [pattern.format(number) for number in range(first, last + 1)]


def crossed(pattern: str, firsts: object, seconds: object) -> list[str]:
    return [pattern.format(first, second) for first in firsts for second in seconds]  # type: ignore[attr-defined]


FINE: dict[str, Names] = {
    "camera": (numbered("IMG_{:04}.png", 40), numbered("IMG_{:04}.png", 41, 70)),
    "two files of a camera": (["IMG_0001.png", "IMG_0002.png"], ["IMG_0003.png"]),
    "numbers anew in each class": (numbered("{}.png", 40), numbered("{}.png", 30)),
    "renamed at once by a file manager": (numbered("Normal ({}).png", 60), numbered("Osteoporosis ({}).png", 50)),
    "class and number": (numbered("normal_{}.jpg", 50), numbered("osteo_{}.jpg", 50)),
    "letter and number": (numbered("N{}.jpg", 60), numbered("OP{}.jpg", 60)),
    "study and number": (numbered("DXA2024_{:04}.png", 40), numbered("DXA2024_{:04}.png", 41, 80)),
    "year and number": (crossed("{}_{:03}.png", (2021, 2022), range(1, 60)), numbered("2023_{:03}.png", 40)),
    "few centres, many patients": (
        crossed("site{}_{:03}.png", (1, 2, 3), range(1, 70)),
        crossed("site{}_{:03}.png", (1, 2, 3), range(71, 120)),
    ),
    "sex, age and running number": (
        [f"{'FM'[index % 2]}_{50 + index % 20}_{index:04}.png" for index in range(1, 90)],
        [f"{'FM'[index % 2]}_{60 + index % 20}_{index:04}.png" for index in range(90, 140)],
    ),
    "UUIDs": (
        ["550e8400-e29b-41d4-a716-446655440000.png", "550e8401-e29b-41d4-a716-446655440001.png"],
        ["7c9e6679-7425-40de-944b-e07fc1f90ae7.png", "16fd2706-8baf-433b-82eb-8c7fada847da.png"],
    ),
    "hashes": (
        [f"{index * 7919**3:012x}.png" for index in range(50)],
        [f"{index * 104729**2:012x}.png" for index in range(50, 90)],
    ),
    "phone": (numbered("IMG_20230115_{}.jpg", 101112, 101140), numbered("IMG_20230116_{}.jpg", 101112, 101140)),
    "messenger": (numbered("IMG-20230115-WA{:04}.jpg", 30), numbered("IMG-20230116-WA{:04}.jpg", 30)),
    "screenshots": (
        numbered("Screenshot 2023-01-15 at 10.{:02}.11.png", 10, 40),
        numbered("Screenshot 2023-01-16 at 10.{:02}.11.png", 10, 40),
    ),
    "day and number of the day": (
        crossed("20230{}15_{:03}.png", range(1, 9), range(1, 5)),
        crossed("20230{}16_{:03}.png", range(1, 9), range(1, 4)),
    ),
    "pseudonyms": (numbered("patient{:03}.png", 40), numbered("patient{:03}.png", 41, 60)),
    "class behind the number": (numbered("case_{:03}_normal.png", 30), numbered("case_{:03}_degraded.png", 31, 50)),
    "the same view of all": (numbered("{:03}_AP.png", 30), numbered("{:03}_AP.png", 31, 50)),
    "one visit of each": (numbered("sub-{:03}_ses-01_dxa.png", 30), numbered("sub-{:03}_ses-01_dxa.png", 31, 50)),
    "names of persons": (["garcia_maria.png", "lopez_ana.png", "diaz_eva.png"], ["perez_juan.png", "ruiz_luz.png"]),
    "names, one image each": (["garcia_1.png", "lopez_1.png", "diaz_1.png"], ["perez_1.png", "ruiz_1.png"]),
    "national numbers with check digit": (
        [f"{10000000 + 7919 * index}-{index % 10}.png" for index in range(30)],
        [f"{20000000 + 7919 * index}-{index % 10}.png" for index in range(30)],
    ),
    "DICOM identifiers": (
        [f"1.2.840.113619.2.81.290.{23271 + 7 * index}.20081224.{113822 + 13 * index}.png" for index in range(30)],
        [f"1.2.840.113619.2.81.290.{53271 + 7 * index}.20081225.{113822 + 13 * index}.png" for index in range(30)],
    ),
    "the phantom's": (numbered("P0-{:06}.png", 60), numbered("P0-{:06}.png", 61, 90)),
    "batches": (
        crossed("batch1/IMG_{1:04}.png", "x", range(60)) + crossed("batch2/IMG_{1:04}.png", "x", range(60, 120)),
        crossed("batch1/IMG_{1:04}.png", "x", range(1000, 1060)),
    ),
    "a sub-folder for each": (numbered("p{:03}/ap.png", 30), numbered("p{:03}/ap.png", 31, 60)),
    "train and test, numbered anew": (
        numbered("train/{}.png", 30) + numbered("test/{}.png", 10),
        numbered("train/{}.png", 30) + numbered("test/{}.png", 10),
    ),
    "several sources": (
        numbered("IMG_{:04}.png", 20) + numbered("scan_{}.png", 4) + numbered("DSC{:05}.png", 20),
        numbered("knee_{}.png", 4) + numbered("x{}.png", 20),
    ),
    "letters": (["a.png", "b.png", "c.png"], ["d.png", "e.png"]),
    "plates": (["A1.png", "A2.png", "B1.png"], ["B2.png", "C1.png"]),
}

REPEATS: dict[str, tuple[Names, set[str]]] = {  # the names, and one group that must be found
    "augmented": (
        (["N10.jpg", *numbered("N10_aug{}.jpg", 7), *numbered("N{}.jpg", 9)], numbered("OP{}.jpg", 20)),
        {"N10.jpg", *numbered("N10_aug{}.jpg", 7)},
    ),
    "augmented alone": (
        (crossed("N{}_aug{}.jpg", range(3), range(7)), crossed("D{}_aug{}.jpg", range(3), range(7))),
        set(numbered("N1_aug{}.jpg", 0, 6)),
    ),
    "augmented, attached": ((["N1aug1.jpg", "N1aug2.jpg", "N2.jpg"], ["D1.jpg"]), {"N1aug1.jpg", "N1aug2.jpg"}),
    "flipped": (
        (["IMG_0001.png", "IMG_0001_flip.png", "IMG_0002.png"], ["IMG_0003.png"]),
        {"IMG_0001.png", "IMG_0001_flip.png"},
    ),
    "rotated": ((["7_rotated_10.png", "7.png", "8.png"], ["9.png"]), {"7_rotated_10.png", "7.png"}),
    "both sides": ((["p12_L.png", "p12_R.png", "p13_L.png"], ["p14_L.png"]), {"p12_L.png", "p12_R.png"}),
    "both sides, attached": ((["12L.png", "12R.png", "13L.png"], ["14L.png"]), {"12L.png", "12R.png"}),
    "both sides, in both classes": (
        (["9001234L.png", "9001236R.png"], ["9001234R.png"]),
        {"9001234L.png", "9001234R.png"},
    ),
    "both sides, in folders": (
        (["left/12.png", "right/12.png", "left/13.png"], ["left/14.png"]),
        {"left/12.png", "right/12.png"},
    ),
    "numbered": (
        (["12_1.png", "12_2.png", "13_1.png", "14_1.png"], ["15_1.png", "16_1.png"]),
        {"12_1.png", "12_2.png"},
    ),
    "one pair among many": (
        ([*numbered("{}.png", 60), "77_1.png", "77_2.png"], numbered("{}.png", 100, 130)),
        {"77_1.png", "77_2.png"},
    ),
    "all pairs": (
        (crossed("{}-{}.png", range(20), (1, 2)), crossed("{}-{}.png", range(20, 40), (1, 2))),
        {"3-1.png", "3-2.png"},
    ),
    "lettered": ((["12a.png", "12b.png", "13a.png"], ["14a.png"]), {"12a.png", "12b.png"}),
    "copied": ((["scan.png", "scan (2).png"], ["other.png"]), {"scan.png", "scan (2).png"}),
    "copied among others": ((["12.png", "12 (1).png", *numbered("{}.png", 9)], ["40.png"]), {"12.png", "12 (1).png"}),
    "copy of": ((["copy of 12.png", "12.png"], ["13.png"]), {"copy of 12.png", "12.png"}),
    "copy, behind": ((["12 - Copy (2).png", "12.png"], ["13.png"]), {"12 - Copy (2).png", "12.png"}),
    "copied in German": ((["12 - Kopie.png", "12.png"], ["13.png"]), {"12 - Kopie.png", "12.png"}),
    "copied in Spanish": ((["Copia de 12.png", "12.png"], ["13.png"]), {"Copia de 12.png", "12.png"}),
    "another suffix": ((["12.png", "12.jpg"], ["13.png"]), {"12.png", "12.jpg"}),
    "another letter case": ((["P12.png", "p12.PNG"], ["13.png"]), {"P12.png", "p12.PNG"}),
    "another Unicode form": ((["pe\u00f1a.png", "pen\u0303a.png"], ["x.png"]), {"pe\u00f1a.png", "pen\u0303a.png"}),
    "visits": (
        (["007_baseline.png", "007_followup.png"], ["009_baseline.png"]),
        {"007_baseline.png", "007_followup.png"},
    ),
    "visits, numbered": (
        (["S007_visit_1.png", "S007_visit_2.png"], ["S008_visit_1.png"]),
        {"S007_visit_1.png", "S007_visit_2.png"},
    ),
    "visits, dated": (
        (["p12_20210305.png", "p12_20220401.png"], ["p14_20210305.png"]),
        {"p12_20210305.png", "p12_20220401.png"},
    ),
    "dates first": (
        (["2021-03-05_p12.png", "2022-04-01_p12.png"], ["x.png"]),
        {"2021-03-05_p12.png", "2022-04-01_p12.png"},
    ),
    "a second scan": (
        (["DXA-0012.png", "DXA-0012-rescan.png"], ["DXA-0013.png"]),
        {"DXA-0012.png", "DXA-0012-rescan.png"},
    ),
    "views": ((["0012_AP.png", "0012_LAT.png"], ["0013_AP.png"]), {"0012_AP.png", "0012_LAT.png"}),
    "vertebrae": (
        (
            crossed("case_{:03}_L{}.png", range(9), range(1, 5)),
            crossed("case_{:03}_L{}.png", range(9, 20), range(1, 5)),
        ),
        set(numbered("case_003_L{}.png", 4)),
    ),
    "slices": (
        (crossed("ID{:05}_{:03}.png", range(30), range(40)), crossed("ID{:05}_{:03}.png", range(30, 60), range(40))),
        set(numbered("ID00007_{:03}.png", 0, 39)),
    ),
    "a folder of each patient": (
        (
            crossed("patient{:02}/{}.png", range(12), ("ab", "cd")),
            crossed("patient{:02}/{}.png", range(12, 20), ("ab", "cd")),
        ),
        {"patient07/ab.png", "patient07/cd.png"},
    ),
    "a folder of each person": (
        (
            crossed("{}/IMG_{}.png", ("garcia", "lopez", "diaz", "vega"), (1, 2)),
            crossed("{}/IMG_{}.png", ("ruiz", "gil"), (1, 2)),
        ),
        {"diaz/IMG_1.png", "diaz/IMG_2.png"},
    ),
    "names of persons, numbered": (
        (["garcia.png", "lopez.png", "maria_1.png", "maria_2.png", *numbered("p{}.png", 7)], ["soto.png"]),
        {"maria_1.png", "maria_2.png"},
    ),
}


@pytest.mark.parametrize("names", FINE.values(), ids=FINE.keys())
def test_names_of_different_subjects_are_not_repeats(names: Names) -> None:
    normal, degraded = names
    assert find_repeats([0] * len(normal) + [1] * len(degraded), normal + degraded) == []


@pytest.mark.parametrize(("names", "expected"), REPEATS.values(), ids=REPEATS.keys())
def test_names_that_look_like_repeats_are_found(names: Names, expected: set[str]) -> None:
    normal, degraded = names
    groups = find_repeats([0] * len(normal) + [1] * len(degraded), normal + degraded)
    assert expected in [{(normal + degraded)[row] for row in group} for group in groups]
