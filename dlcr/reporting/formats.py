"""How numbers and tables look: rounding, CSV, Markdown and LaTeX; the same bytes for the same table."""

import math
import re

import pandas as pd

from dlcr.reporting.parts import Cell, Table

GAP = "not run"
"""What stands in a table where there is no number."""


def is_gap(value: object) -> bool:
    """Whether a cell holds no value (None or NaN)."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def number(value: object, digits: int = 1, gap: str = GAP) -> str:
    """A number with fixed digits, or `gap` where there is none."""
    return gap if is_gap(value) else f"{value:.{digits}f}"


def signed(value: object, digits: int = 1, gap: str = "–") -> str:
    """A difference with its sign."""
    return gap if is_gap(value) else f"{value:+.{digits}f}"


def spread(value: object, std: object, digits: int = 1, gap: str = GAP) -> str:
    """Mean ± standard deviation; the mean alone where there is no deviation (one seed)."""
    return number(value, digits, gap) + ("" if is_gap(value) or is_gap(std) else f" ± {std:.{digits}f}")


def interval(low: object, high: object, digits: int = 1, gap: str = "–") -> str:
    """A 95 % interval."""
    return gap if is_gap(low) or is_gap(high) else f"{low:.{digits}f} to {high:.{digits}f}"


def p_value(value: object, gap: str = "–") -> str:
    """A p value with three digits, or `< 0.001`."""
    if is_gap(value):
        return gap
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def equals(p: float) -> str:
    """A p value after the letter: `= 0.012` or `< 0.001`."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def duration(seconds: object, gap: str = "–") -> str:
    """Seconds as `4.2 s`, `3 min 05 s` or `1 h 02 min`."""
    if is_gap(seconds):
        return gap
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def rounded(value: object, digits: int = 4) -> object:
    """A nested structure with every float rounded; NaN and None leave (a gap is the absence of a number)."""
    if isinstance(value, dict):
        kept = {str(key): rounded(item, digits) for key, item in value.items() if not is_gap(item)}
        return {key: item for key, item in kept.items() if item != {}}
    return round(float(value), digits) if isinstance(value, float) else value


def csv_bytes(table: pd.DataFrame, digits: int = 4) -> bytes:
    """The table as CSV, floats rounded, gaps empty."""
    return table.round(digits).to_csv(index=False, lineterminator="\n").encode()


def markdown(table: pd.DataFrame, notes: list[str] = ()) -> bytes:
    """A table of text as GitHub Markdown, with notes below; cell texts are escaped, so that none can break
    the table."""
    lines = [
        "| " + " | ".join(_cell(column) for column in table.columns) + " |",
        "|" + " --- |" * len(table.columns),
    ]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in table.itertuples(index=False)]
    lines += [line for note in notes for line in ("", _cell(note))]
    return ("\n".join(lines) + "\n").encode()


LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # at a row's start they would be an option of \\
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    '"': "''",
    "\u00a0": "~",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "’": "'",
}
"""What stands in LaTeX for a character that means something else there."""


def latex(table: Table) -> bytes:
    """A table as LaTeX: a float with caption and label whose rules are booktabs', never wider than the page.

    What readers see (`view`), texts escaped, gaps as `--`; columns with results are set flush right. The packages that
    it needs stand in its first line.
    """
    columns = list(table.view.columns)
    aligned = "".join("r" if any(map(_is_number, table.view[name])) else "l" for name in columns)
    rows = [[_latex(name) for name in columns]]
    rows += [[_latex(value) for value in row] for row in table.view.itertuples(index=False)]
    head, *body = [" & ".join(row) + r" \\" for row in rows]
    notes = [rf"\par\smallskip\parbox{{\textwidth}}{{\footnotesize {_latex(note)}}}" for note in table.notes]
    lines = [
        r"% needs \usepackage{booktabs, graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{aligned}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        r"\end{tabular}}",
        *notes,
        r"\end{table*}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _is_number(value: object) -> bool:
    return isinstance(value, Cell) and bool(re.match(r"[+<-]?\d", value.text))


def _latex(value: object) -> str:
    if is_gap(value) or (isinstance(value, Cell) and value.mark == "not run"):
        return "--"
    text = re.sub(r"[^\S\u00a0]+", " ", str(value))
    escaped = "".join(LATEX.get(character, character if character.isprintable() else "") for character in text)
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)  # a minus, not a hyphen


def _cell(value: object) -> str:
    text = "" if is_gap(value) else " ".join(str(value).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(character, entity)
    return text
