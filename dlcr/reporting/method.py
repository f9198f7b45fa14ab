"""The method in five pictures, from what the page's browsers hold: original, mask, description, variant, retrieval."""

from dlcr.reporting.browser import Browsers

STEPS = (
    ("Original", "A training image. Each person is seen in a few outfits only."),
    ("Mask", "A parser marks the clothes, the only part that is repainted."),
    ("Description", "A vision-language model says what others wear."),
    ("Variant", "A diffusion model paints that into the mask. Face, hair and body stay."),
    ("Retrieval", "Re-ID is trained on the variants; a query’s own variants vote on whom it shows."),
)


def method_steps(browsers: Browsers) -> list[dict]:
    """The five steps for the template: title, words, quote (a model's text, "" if none) and pictures (uri and alt).

    Shown are the first sample, as drawn for its browser, that has a mask and a variant, and the first query that the
    baseline gets wrong and DLCR right. Steps that have nothing to show have words alone.
    """
    pictures: dict[str, list[tuple[int, str]]] = {}
    quote = ""
    sample, variant = _first_sample(browsers.samples)
    if sample:
        quote = ", ".join(part.strip() for part in variant["prompt"].split("|"))
        pictures |= {
            "Original": [(sample["picture"], f"A training image of person {sample['subject']}")],
            "Mask": [(sample["mask"]["picture"], "The same image, its clothes orange")],
            "Variant": [(variant["picture"], "The same image in other clothes")],
        }
    query = next((item for item in browsers.retrievals if item["kind"] == "fixed"), None)
    if query:
        (found, _), *_ = query["ranked"][browsers.pair[1]]["hits"]
        pictures["Retrieval"] = [
            (query["picture"], f"A query of person {query['subject']}"),
            (found, "The gallery image that DLCR ranks first: the same person in other clothes"),
        ]
    return [
        {
            "title": title,
            "words": words,
            "quote": quote if title == "Description" else "",
            "pictures": [{"uri": browsers.pictures[at][1], "alt": alt} for at, alt in pictures.get(title, ())],
        }
        for title, words in STEPS
    ]


def _first_sample(samples: list[dict]) -> tuple[dict | None, dict]:
    for sample in samples:
        for variant in sample["variants"]:
            if sample["mask"]["picture"] is not None and variant["picture"] is not None:
                return sample, variant
    return None, {}
