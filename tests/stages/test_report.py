"""Stage report: what it prints, and that a broken input leaves no report."""

from pathlib import Path

import pytest

from stages import report


def test_report_without_data_names_it_and_writes_nothing(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^data/minicc: not there; `dvc repro prepare@minicc`"):
        report.main()
    assert not (tmp_path / "reports").exists()


def test_report_publishes_and_prints_the_page(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "build", lambda root, params, timings: {"index.html": b"page"})
    report.main()
    assert capsys.readouterr().out == "reports/index.html\n"
    assert (tmp_path / "reports" / "index.html").read_bytes() == b"page"
