"""Stage report: what it prints, and that a broken input leaves no report."""

from pathlib import Path

import pytest

from stages import report


def test_a_damaged_evaluation_is_named_and_nothing_is_written(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    (tmp_path / "evaluations" / "baseline").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^evaluations/baseline/scores\.json: expected the scores of an evaluation"):
        report.main()
    assert not (tmp_path / "reports").exists()


def test_without_anything_all_is_a_gap(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    report.main()
    lines = (tmp_path / "reports/tables/a1.md").read_text().splitlines()
    assert sum("not run" in line for line in lines if line.startswith("| ")) == 7
    assert list((tmp_path / "reports/pictures").iterdir()) == []


def test_report_publishes_and_prints_the_page(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "build", lambda root, params, timings: {"index.html": b"page"})
    report.main()
    assert capsys.readouterr().out == "reports/index.html\n"
    assert (tmp_path / "reports" / "index.html").read_bytes() == b"page"
