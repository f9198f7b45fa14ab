"""How numbers and texts look in tables; LaTeX is read back by a small parser."""

import re

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dlcr.reporting.formats import (
    LATEX,
    csv_bytes,
    duration,
    latex,
    markdown,
    number,
    p_value,
    rounded,
    signed,
    spread,
)
from dlcr.reporting.parts import Cell, Table

TOKENS = re.compile("|".join(re.escape(text) for text in sorted(LATEX.values(), key=len, reverse=True)) + "|(?s:.)")
BACK = {text: character for character, text in LATEX.items()}


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
    text = markdown(pd.DataFrame({"a": ["x|y\n| z |", Cell("<b>", "paper")]})).decode()
    assert text == "| a |\n| --- |\n| x\\|y \\| z \\| |\n| &lt;b&gt; |\n"


def read_latex(content: bytes) -> tuple[str, str, list[list[str]]]:
    """Column types, everything but the table's rows, and the rows' cells; AssertionError for broken LaTeX."""
    text = content.decode()
    depth = 0
    for token in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
    assert depth == 0
    opened = []
    for what, name in re.findall(r"\\(begin|end)\{(.*?)\}", text):
        if what == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    match = re.fullmatch(
        r"(.*\\begin\{tabular\}\{([lr]*)\}\n)\\toprule\n(.*)\\bottomrule(\n\\end\{tabular\}.*)", text, re.S
    )
    head, body = match[3].split("\\midrule\n")
    lines = [*head.splitlines(), *body.splitlines()]
    assert all(line.endswith(r" \\") for line in lines)
    return match[2], match[1] + match[4], [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines]


def table(view: pd.DataFrame, title: str = "A title", notes: tuple[str, ...] = ()) -> Table:
    return Table("name", title, pd.DataFrame(), view, list(notes))


def test_latex_is_a_float_with_caption_label_and_rules() -> None:
    view = pd.DataFrame(
        {
            "Model & data": ["A_1", "[x]"],
            "95 % interval": [Cell("-1.5 to 2.0", "measured", "a"), Cell("not run", "not run")],
        }
    )
    columns, around, rows = read_latex(latex(table(view, "Gains of 5 % & more", ("p < 0.05 #1",))))
    assert columns == "lr"  # results are set flush right
    assert rows == [
        [r"Model \& data ", r" 95 \% interval"],
        [r"A\_1 ", " $-$1.5 to 2.0"],
        ["{[}x{]} ", " --"],  # a bracket at a row's start would be an option of the line before
    ]
    assert r"\caption{Gains of 5 \% \& more}" in around
    assert r"\label{tab:name}" in around
    assert r"p $<$ 0.05 \#1" in around
    assert around.startswith("% needs \\usepackage{booktabs, graphicx}\n")


def test_latex_of_no_rows() -> None:
    assert read_latex(latex(table(pd.DataFrame(columns=["a", "b"]))))[2] == [["a ", " b"]]


# Two characters that look the same set (" and '', - and a minus) cannot be told apart afterwards.
@given(st.lists(st.tuples(st.text(), st.text()), max_size=4), st.text())
@settings(max_examples=60, deadline=None)
@example([("\\", "}{"), ("a & b \\\\", "%$#_~^"), ("* [1]", "\x00\n|")], "\\end{tabular} é 衣")
def test_latex_says_what_the_table_says(cells: list[tuple[str, str]], title: str) -> None:
    def told_apart(text: str) -> str:
        return re.sub("[\"'’–-]", "", text)

    def shown(text: str) -> str:
        text = re.sub(r"[^\S\u00a0]+", " ", text)
        return "".join(character for character in text if character.isprintable() or character == "\u00a0")

    def meant(text: str) -> str:
        return "".join(BACK.get(token, token) for token in TOKENS.findall(text))

    cells, title = [tuple(map(told_apart, row)) for row in cells], told_apart(title)
    view = pd.DataFrame([(first, Cell(second, "paper")) for first, second in cells], columns=["a", "b"])
    columns, around, rows = read_latex(latex(table(view, title)))
    assert {len(row) for row in rows} == {len(columns)}
    assert [tuple(map(meant, row)) for row in rows[1:]] == [(f"{shown(a)} ", f" {shown(b)}") for a, b in cells]
    assert meant(re.search(r"^\\caption\{(.*)\}$", around, re.M)[1]) == shown(title)
