"""docs/comparison.md: each point says what shows that lockd_client is as it says, and that is there."""

import re

import pytest

from tests.house.sources import ROOT

TEXT = (ROOT / "docs" / "comparison.md").read_text()
WITHOUT_A_TEST = {"`py.typed`"}  # mypy over the tests shows it, and no test of its own
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables() -> list[list[list[str]]]:
    """Each with its heading first; the line between that and the rows is left out."""
    blocks = re.findall(r"(?:^\|.*\n)+", TEXT, flags=re.MULTILINE)
    return [[cells(line) for line in (lines[0], *lines[2:])] for lines in (block.splitlines() for block in blocks)]


def our_cells() -> dict[str, str]:
    return {row[0]: row[1] for _, *rows in tables() for row in rows}


POINTS = {point: cell for point, cell in our_cells().items() if point not in WITHOUT_A_TEST}


def test_the_same_libraries_stand_in_each_table_with_their_versions() -> None:
    headings = {tuple(heading[1:]) for heading, *_ in tables()}
    assert len(headings) == 1
    (libraries,) = headings
    ours, *others = libraries
    assert ours == "lockd_client"
    assert len(others) == 5
    assert all(re.search(r" \d+\.\d+\.\d+$", library) for library in others)


def test_no_cell_is_empty_or_missing() -> None:
    for heading, *rows in tables():
        assert rows
        for row in rows:
            assert len(row) == len(heading), row[0]
            assert all(row), row[0]


def test_a_point_stands_there_once() -> None:
    points = [row[0] for _, *rows in tables() for row in rows]
    assert sorted(points) == sorted(set(points))
    assert len(points) > len(WITHOUT_A_TEST)


@pytest.mark.parametrize("point", POINTS)
def test_what_is_said_of_our_client_is_shown_by_a_test(point: str) -> None:
    assert NAMED.search(POINTS[point]), "no test is named"
    assert POINTS[point].count("tests/") == len(NAMED.findall(POINTS[point])), "a name that is not path::name"


def test_points_without_a_test_are_those_that_say_so() -> None:
    assert {point for point, cell in our_cells().items() if not NAMED.search(cell)} == WITHOUT_A_TEST


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(TEXT))))
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file()
    assert re.search(rf"^(?:async )?def {name}\(", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted({name for _, name in NAMED.findall(TEXT) if not name.startswith("test_")}))
def test_what_is_no_test_is_a_scenario_of_make_integration(name: str) -> None:
    scenarios = (ROOT / "tests" / "integration" / "scenarios.py").read_text().partition("SCENARIOS")[2]
    assert re.search(rf"^ +{name},$", scenarios, flags=re.MULTILINE)
