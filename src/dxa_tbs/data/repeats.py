"""Finds file names in class folders that look like several images of one subject: a warning sign, not a proof.

Names are compared within and across the class folders; suffix, letter case and Unicode form are ignored. Files look
like repeats if their names differ only in
    a mark of a copy or an augmentation     scan.png, copy of scan.png, scan (2).png; N10_aug1.jpg, N10_aug2.jpg
    a side, view, level, visit or date      p12_L.png, p12_R.png; 007_baseline.png, 007_2021-03-05.png
    a last number or letter                 12_1.png, 12_2.png; 12a.png, 12b.png; garcia_1.png, garcia_2.png
    the suffix                              p12.png, p12.jpg
or if they share a sub-folder that is one of many small ones, or small and with a number in its name.
A running number is not a repeat: IMG_0001.png, IMG_0002.png. Neither is a series: all files of a class folder begin
alike (2023_001.png), there are only a few large groups (site1_001.png ... site2_150.png), or no last number occurs
twice (F_65_0031.png). Numbers of centre and patient (01-001.png, 02-001.png) cannot be told from numbers of patient and
image, and count as repeats.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dxa_tbs.data.names import plain_form

COPIES = {
    "copy", "copia", "copie", "kopie", "kopia", "duplicate", "dup", "original", "orig",
}  # fmt: skip
OF_WORDS = {"of", "de", "von"}  # copy of ...
AUGMENTED = {
    "aug", "augm", "augmented", "augmentation", "flip", "flipped", "hflip", "vflip", "fliplr", "flipud", "mirror",
    "mirrored", "rot", "rotate", "rotated", "rotation", "crop", "cropped", "bright", "brightness", "dark", "darker",
    "contrast", "noise", "noisy", "blur", "blurred", "gamma", "zoom", "zoomed", "shift", "shifted",
}  # fmt: skip
NUMBERED = {
    "visit", "visita", "v", "t", "scan", "exam", "session", "ses", "rep", "repeat", "repeated", "rescan", "retest",
    "acq", "run", "slice", "frame", "view", "img", "image", "series", "level", "vertebra", "follow", "followup",
    "fu", "baseline", "bl", "pre", "post",
}  # fmt: skip
PLACED = {
    "l", "r", "left", "right", "lt", "rt", "izq", "izquierda", "izquierdo", "der", "derecha", "derecho", "links",
    "rechts", "ap", "pa", "lat", "lateral",
}  # fmt: skip
GENERAL = {  # words that are not names of persons
    "img", "image", "images", "dsc", "dscn", "dscf", "pic", "picture", "photo", "scan", "screenshot", "capture",
    "fig", "figure", "file", "frame", "spine", "lumbar", "hip", "knee", "dxa", "dexa", "xray", "ray", "x", "bone",
    "normal", "degraded", "healthy", "osteoporosis", "osteopenia", "osteoporotic", "case", "patient", "subject",
    "sample", "id", "pat", "sub", "no", "nr", "number", "train", "test", "val", "valid", "original", "n", "d", "p",
    "s",
}  # fmt: skip
MAX_IMAGES_PER_SUBJECT = 20  # larger groups are not one subject
FEW_GROUPS = 5  # large groups are series, for example one per site, if there are no more than this
MIN_GROUPS_TO_RUN = 3  # with fewer groups, different last numbers do not prove a running number
MIN_CLASS_SIZE = 8  # files; in smaller class folders even a beginning common to all files may be a subject


_Group = tuple[tuple[str, ...], list[int]]  # the key that the names share, and the positions of the files


@dataclass(frozen=True)
class _Name:
    """The parts of a file's name.

    Attributes:
        label: the class folder.
        folder: path of the sub-folder, relative to the class folder; "" if the file is not in a sub-folder.
        words: lower-case words of the path relative to the class folder, without suffix; numbers and / count as words.
    """

    label: int
    folder: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Cohort:
    """The names of all files, and the number of files in each class folder."""

    names: Sequence[_Name]
    sizes: Counter[int]


def find_repeats(labels: Sequence[int], paths: Sequence[str]) -> list[list[int]]:
    """Return groups of images whose names look like repeats of one subject, each as positions in the arguments.

    Args:
        labels: the class of each image.
        paths: of the images, relative to their class folder, with / between the parts.
    """
    names = [_parse(label, path) for label, path in zip(labels, paths, strict=True)]
    cohort = _Cohort(names, Counter(labels))
    found: list[list[int]] = []
    taken: set[int] = set()
    for rule in (_same_name, _copies, _marked, _numbered, _in_one_subfolder):
        for group in rule(cohort):
            if not taken.issuperset(group):
                found.append(group)
                taken.update(group)
    return found


def _parse(label: int, path: str) -> _Name:
    pure = PurePosixPath(plain_form(path))
    words: list[str] = []
    for word in re.findall(r"\(\d+\)|[^\W_]+|/", pure.with_suffix("").as_posix()):
        attached = re.fullmatch(r"([^\W\d_]*\d+)([^\W\d_]+)(\d*)", word)  # N10aug1, 12L, 12a
        is_mark = attached and (attached[2] in COPIES | AUGMENTED | NUMBERED | PLACED or word[-1] in "abcd")
        if attached and is_mark and (len(attached[2]) > 1 or not attached[3]):
            words += [attached[1], attached[2] + attached[3]]
        else:
            words.append(word)
    parent = pure.parent.as_posix()
    return _Name(label, "" if parent == "." else parent, tuple(words))


def _same_name(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield files of one folder whose names differ only in suffix, case or separators."""
    yield from (group for _, group in _grouped(cohort, lambda name: (str(name.label), *name.words)))


def _copies(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield files whose names differ only in a mark of a copy or an augmentation."""
    for key, group in _grouped(cohort, lambda name: _without(name.words, _mark_of_copy)):
        are_originals = [cohort.names[row].words == key for row in group]
        is_series = not _has_number(key) and _is_share_of_class(0.5, group, cohort)
        if not all(are_originals) and (any(are_originals) or _may_be_a_subject(key)) and not is_series:
            yield group


def _marked(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield files whose names differ only in a side, view, level, visit or date."""
    groups = _grouped(cohort, lambda name: _without(_without(name.words, _mark_of_copy), _mark_of_view))
    yield from _without_series(groups, cohort)


def _numbered(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield files whose names differ only in the last number or letter."""

    def subject(name: _Name) -> tuple[str, ...]:
        is_index = len(name.words) > 1 and re.fullmatch(r"\(\d+\)|\d{1,4}|[a-z]\d{0,2}", name.words[-1])
        return name.words[:-1] if is_index else ()

    groups = [(key, group) for key, group in _grouped(cohort, subject) if key]
    last = Counter(cohort.names[row].words[-1] for _, group in groups for row in group)
    min_groups = MIN_GROUPS_TO_RUN if any(_has_number(key) for key, _ in groups) else 2
    is_running_number = len(groups) >= min_groups and max(last.values()) == 1
    yield from () if is_running_number else _without_series(groups, cohort)


def _in_one_subfolder(cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the files of each small sub-folder that is one of many, or has a number in its name."""
    groups = [(key, group) for key, group in _grouped(cohort, lambda name: (str(name.label), name.folder)) if key[1]]
    if not _are_large(groups):
        yield from (group for key, group in groups if len(groups) > FEW_GROUPS or re.search(r"\d", key[1]))


def _grouped(cohort: _Cohort, key: Callable[[_Name], tuple[str, ...]]) -> list[_Group]:
    """Return the groups of files that share a key, except groups that differ only in the class folder."""
    groups = defaultdict(list)
    for row, name in enumerate(cohort.names):
        groups[key(name)].append(row)
    several = [(of, rows) for of, rows in groups.items() if len(rows) > 1]
    return [
        (of, rows)
        for of, rows in several
        if len({cohort.names[row].words for row in rows}) > 1 or len({cohort.names[row].label for row in rows}) == 1
    ]


def _without_series(groups: Sequence[_Group], cohort: _Cohort) -> Iterator[list[int]]:
    """Yield the groups whose key contains a number or may be a person's name, and that are not a series of subjects."""
    are_series = len(groups) <= FEW_GROUPS and _are_large(groups)
    for key, group in groups:
        if _has_number(key):
            is_series = are_series or _is_share_of_class(1.0, group, cohort)
        else:
            is_series = len(group) > MAX_IMAGES_PER_SUBJECT or _is_share_of_class(0.5, group, cohort)
        if _may_be_a_subject(key) and not is_series:
            yield group


def _are_large(groups: Sequence[_Group]) -> bool:
    return sum(len(group) for _, group in groups) > MAX_IMAGES_PER_SUBJECT * len(groups)


def _is_share_of_class(share: float, group: Sequence[int], cohort: _Cohort) -> bool:
    """Return whether a group makes up at least this share of a class folder that is not tiny."""
    inside = Counter(cohort.names[row].label for row in group)
    return any(
        cohort.sizes[label] >= MIN_CLASS_SIZE and count >= share * cohort.sizes[label]
        for label, count in inside.items()
    )


def _without(words: tuple[str, ...], mark: Callable[[Sequence[str], int], int]) -> tuple[str, ...]:
    """Return the words without marks; `mark` returns the length in words of the mark at a position, or 0."""
    left, place = [], 0
    while place < len(words):
        if length := mark(words, place):
            place += length
        else:
            left.append(words[place])
            place += 1
    return tuple(left)


def _mark_of_copy(words: Sequence[str], place: int) -> int:
    """Return the length in words of a mark of a copy or an augmentation at a position, or 0."""
    following = words[place + 1] if place + 1 < len(words) else ""
    stem = words[place].rstrip("0123456789")
    if stem in COPIES:
        return 2 if following in OF_WORDS or re.fullmatch(r"\(\d+\)|\d{1,2}", following) else 1
    if stem in AUGMENTED:
        return 2 if re.fullmatch(r"\d{1,4}", following) and words[place] == stem else 1
    return int(place == len(words) - 1 and re.fullmatch(r"\(\d+\)", words[place]) is not None)


def _mark_of_view(words: Sequence[str], place: int) -> int:
    """Return the length in words of a side, view, level, visit or date at a position, or 0."""
    following = words[place + 1] if place + 1 < len(words) else ""
    stem = words[place].rstrip("0123456789")
    is_numbered = words[place] != stem
    if length := _date(words, place):  # a visit if a numbered subject precedes the date, or follows it at the start
        subject = words[:place] or [word for word in words[length:] if not word.isdigit()]
        return length if _has_number(subject) else 0
    if stem in PLACED and len(words[place]) - len(stem) <= 1:
        return 1
    if stem in NUMBERED and (place > 0 or (is_numbered and len(words) > 1)):
        return 2 if not is_numbered and re.fullmatch(r"\d{1,4}", following) else 1
    return 0


def _date(words: Sequence[str], place: int) -> int:
    """Return the length in words of a date, with a time of day after it, at a position: 0 to 4."""
    text = "-".join(words[place : place + 3])
    days = re.match(r"(19|20)\d\d(0\d|1[0-2])[0-3]\d(?!\d)", text)
    parts = re.match(r"(19|20)\d\d-(0?\d|1[0-2])-[0-3]?\d(?!\d)|[0-3]?\d-(0?\d|1[0-2])-(19|20)\d\d(?!\d)", text)
    length = 1 if days else 3 if parts else 0
    has_time = (
        length and place + length < len(words) and re.fullmatch(r"[0-2]\d[0-5]\d([0-5]\d)?", words[place + length])
    )
    return length + bool(has_time)


def _has_number(words: Sequence[str]) -> bool:
    """Return whether the words contain a number other than a date or a year."""
    left = _without(tuple(words), _date)
    return any(re.search(r"\d", word) and not re.fullmatch(r"(19|20)\d\d", word) for word in left)


def _may_be_a_subject(words: Sequence[str]) -> bool:
    """Return whether the words contain a number, or a word that may be a person's name."""
    return _has_number(words) or any(len(word) > 1 and word.isalpha() and word not in GENERAL for word in words)
