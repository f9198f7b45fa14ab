"""How numbers and texts look in tables."""

import numpy as np
import pandas as pd

from dlcr.reporting.formats import csv_bytes, duration, markdown, number, p_value, rounded, signed, spread


def test_gaps_are_words_not_zeros() -> None:
    assert number(np.nan) == "not run"
    assert spread(None, None) == "not run"
    assert spread(41.26, np.nan) == "41.3"
    assert spread(41.26, 0.04) == "41.3 ± 0.0"
    assert csv_bytes(pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None]})) == b"a,b\n1.0,x\n,\n"


def test_numbers() -> None:
    assert signed(-0.44) == "-0.4"
    assert p_value(0.0004) == "< 0.001"
    assert [duration(value) for value in (4.25, 185, 3725)] == ["4.2 s", "3 min 05 s", "1 h 02 min"]


def test_rounded_keeps_structure_and_drops_gaps() -> None:
    content = {"a": {"b": np.float64(1.23456), "c": np.nan}, "d": 3, "e": {"f": None}, "g": "text"}
    assert rounded(content, 2) == {"a": {"b": 1.23}, "d": 3, "g": "text"}


def test_markdown_cells_cannot_break_the_table() -> None:
    text = markdown(pd.DataFrame({"a": ["x|y\n| z |", "<b>"]})).decode()
    assert text == "| a |\n| --- |\n| x\\|y \\| z \\| |\n| &lt;b&gt; |\n"
