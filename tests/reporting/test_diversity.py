"""How various clothes are, on lists and pictures whose answer is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcr.params import load_params
from dlcr.reporting.diversity import effective_number, of_pictures, of_prompts
from dlcr.reporting.tables.diversity import numbers, view
from dlcr.reporting.tables.specs import Sources

WHOLE = np.ones((4, 4), bool)


def plain(*colour: int) -> np.ndarray:
    return np.full((4, 4, 3), colour, np.uint8)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_the_effective_number_lies_between_one_and_the_number_of_kinds(values: list[int]) -> None:
    found = effective_number(values)
    assert 1 - 1e-9 <= found <= len(set(values)) + 1e-9
    assert found == pytest.approx(effective_number(values * 3))  # shares count, not sizes
    assert effective_number(list(range(7))) == pytest.approx(7)


def test_the_effective_number_by_hand() -> None:
    assert effective_number(["red", "red", "blue"]) == pytest.approx(3 / 2 ** (2 / 3))
    assert effective_number([]) == 0


def test_prompts_are_counted_by_item() -> None:
    prompts = ["Red shirt| Blue jeans| Black shoes", "red shirt|Blue skirt| Black shoes", "Coat", ""]
    found = of_prompts(pd.Series([*prompts, prompts[0]]))
    assert found["prompts"] == 3
    assert found["items"] == pytest.approx(
        [effective_number("aaab"), effective_number(["jeans", "skirt", "jeans"]), 1.0]
    )
    assert of_prompts(pd.Series(["", ""])) == {"prompts": 0, "items": []}


def test_colours_are_those_within_the_masks() -> None:
    half = WHOLE.copy()
    half[:2] = False
    two = plain(200, 0, 0)
    two[:2] = (0, 0, 200)  # outside of the mask
    red = (plain(200, 0, 0), WHOLE)
    assert of_pictures([red, (two, half), (plain(198, 2, 1), WHOLE)]) == pytest.approx(1)
    assert of_pictures([red, (plain(0, 0, 200), WHOLE)]) == pytest.approx(2)
    other_size = (np.zeros((8, 4, 3), np.uint8), WHOLE)
    assert of_pictures([red, other_size, (plain(0, 200, 0), ~WHOLE)]) == pytest.approx(1)


def test_the_table_shows_what_was_counted(repository: Path) -> None:
    params = load_params(repository / "profiles" / "minicc.yaml")
    survey = {
        "datasets": {"minicc": {"colours": 9.5}},
        "sets": {
            "random": {"prompts": 90, "items": [20.0, 11.0], "colours": 8.0},
            "colour": {"prompts": 0, "items": []},
        },
    }
    table = numbers(Sources(params, {}, pd.DataFrame(), survey, None))
    assert table["set"].tolist() == ["minicc (real)", "random", "colour"]
    shown = [view(row, "measured") for row in table.to_dict("records")]
    assert list(map(str, shown[1].values())) == ["random", "90", "20.0", "11.0", "–", "8.0"]
    assert str(shown[0]["Effective number of colours"]) == "9.5"
