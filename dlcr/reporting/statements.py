"""The paper's statements as data, in its order: which rows of the tables each compares, and by which test.

A place is TABLE/ROW, as in `report.tables` of params.yaml. A statement about several pairs has placeholders: it is
about each row that fits and has its counterpart. How a verdict comes about: `claims`, docs/claims.md.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Statement:
    """That a is above b in `measure`. b: several places mean the mean of their scores, query by query.

    test: `difference`: a - b > 0. `every difference`: the same of every pair. `equivalence`: |a - b| is small.
    `factor`: a takes less time. label: tells the pairs of `every difference` apart. optional: left out where the
    profile lacks one of its rows.
    """

    name: str
    test: Literal["difference", "every difference", "equivalence", "factor"]
    a: str
    b: str | tuple[str, ...]
    statement: str
    paper: str
    measure: str = "top1"
    label: str = ""
    optional: bool = False


# fmt: off
STATEMENTS = (
    Statement("dlcr", "difference", "a1/6", "a1/1",
              "DLCR as a whole raises top-1.",
              "66.5 against 55.2, +11.3 (Table A1, rows 6 and 1)."),
    Statement("inpainting", "difference", "a1/4", "a1/2",
              "Inpainting that keeps the person beats diffusion of the whole picture.",
              "62.9 against 55.7, +7.2 (Table A1, rows 4 and 2); with random prompts 60.7, +5.0 (row 3)."),
    Statement("diffusion", "difference", "a1/2", "a1/1",
              "Diffusion of the whole picture beats no generated data.",
              "55.7 against 55.2, +0.5 (Table A1, rows 2 and 1): a marginal improvement."),
    Statement("prompts", "difference", "a3/vlm+llm", "a3/random",
              "Prompts extracted from the dataset beat random ones.",
              "62.9 against 60.7, +2.2 (Table A3)."),
    Statement("progressive-time", "factor", "a5/progressive", "a5/concat",
              "An epoch of progressive learning takes less time than one of concatenated data.",
              "65 s against 691 s (Table A5)."),
    Statement("progressive-concat", "difference", "a5/progressive", "a5/concat",
              "Progressive learning beats concatenated data.",
              "65.0 against 64.0, +1.0 (Table A5)."),
    Statement("progressive-pairs", "difference", "a1/5", "a1/4",
              "Progressive learning beats pairs from all variants.",
              "65.0 against 62.9, +2.1 (Table A1, rows 5 and 4)."),
    Statement("refinement-top1", "difference", "a1/6", "a1/5",
              "Prediction refinement raises top-1.",
              "66.5 against 65.0, +1.5 (Table A1, rows 6 and 5)."),
    Statement("refinement-map", "difference", "a1/6", "a1/5",
              "Prediction refinement raises mAP.",
              "63.0 against 62.4, +0.6 (Table A1, rows 6 and 5).", measure="map"),
    Statement("models", "every difference", "t3/{model}/stage 1", "t3/{model}/baseline",
              "Every model gains by the generated data.",
              "+1.0 (GEFF) to +28.7 (MGN), six models (Table 3, stage 1 and baseline).", label="{model}"),
    Statement("domains", "every difference", "t4/{dataset}/{model} + DLCR", "t4/{dataset}/{model}",
              "The gain carries over to datasets that were not trained on.",
              "+4.3 (LaST) to +8.0 (PRCC), three datasets (Table 4).", label="{model} on {dataset}"),
    Statement("describer", "equivalence", "a4/instructblip", "a4/llava",
              "Which vision-language model describes the clothes hardly matters.",
              "62.9 with either (Table A4); mAP 60.9 and 61.3."),
    Statement("k-grows", "difference", "a8/10", "a8/2",
              "Ten variants of an image beat two.",
              "Shown without numbers (Fig. A8, concatenated data)."),
    Statement("k-saturates", "equivalence", "a8/20", "a8/10",
              "More than ten variants hardly matter.",
              "Improvements beyond ten are minimal; shown without numbers (Fig. A8, concatenated data)."),
    Statement("guidance", "difference", "guidance/with", "guidance/without",
              "Guidance by a discriminator raises top-1.",
              "+1 to +2 in some cases on PRCC and CCVID (Sec. 12)."),
    Statement("oracle", "difference", "a1/5", ("a1/1", "a1/oracle"),
              "Inpainting reaches more than half of what perfect re-clothing gains.",
              "Not in the paper: real data has no perfect re-clothing. The effect is the distance to half the gain.",
              optional=True),
)
# fmt: on
