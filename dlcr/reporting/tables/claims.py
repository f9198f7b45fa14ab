"""The paper's claims held against this run (`dlcr.reporting.claims`), without a clock: the same on every machine."""

from dataclasses import fields

import pandas as pd

from dlcr.reporting.claim_texts import claim_row, records
from dlcr.reporting.claims import claims
from dlcr.reporting.parts import Claim, Mark
from dlcr.reporting.tables.specs import Sources, Spec

COLUMNS = [field.name for field in fields(Claim) if field.name != "sources"]


def numbers(sources: Sources) -> pd.DataFrame:
    found = claims(sources.params, sources.results, pd.DataFrame(columns=["stage", "name"]))
    table = pd.DataFrame(records(found), columns=[*COLUMNS, "sources"])
    return table.assign(sources=[" ".join(names) for names in table["sources"]])


def view(row: dict, mark: Mark) -> dict:
    return claim_row(row)


SPEC = Spec(
    name="claims",
    place=170,
    title="The paper's claims, held against this run",
    group="",
    numbers=numbers,
    view=view,
    notes=["Speed is compared by images an epoch, which need no clock; `dlcr claims` takes this machine's times."],
)
