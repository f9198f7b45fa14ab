"""Parameters of a profile, narrowed to what a test needs."""


def show_only(params: dict, evaluation: str) -> None:
    """Let the report of params.yaml's content show one evaluation, as rows 1 and 5 of Table A1, and nothing else."""
    report = params["report"]
    tables = [name for name, rows in report.items() if isinstance(rows, dict)]
    report |= {table: {} for table in tables} | {"a1": {"1": evaluation, "5": evaluation}}
