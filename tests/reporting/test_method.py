"""The method in five pictures: each with what it shows, and with words alone where there is nothing."""

from dataclasses import replace

from made_up_page import HOSTILE, make_browsers

from dlcr.reporting.browser import Browsers
from dlcr.reporting.method import method_steps


def test_five_steps_with_their_pictures() -> None:
    browsers = make_browsers()
    steps = method_steps(browsers)
    assert [step["title"] for step in steps] == ["Original", "Mask", "Description", "Variant", "Retrieval"]
    assert [len(step["pictures"]) for step in steps] == [1, 1, 0, 1, 2]
    assert [step["quote"] for step in steps] == ["", "", HOSTILE, "", ""]
    assert all(picture["uri"].startswith("data:image/webp") for step in steps for picture in step["pictures"])


def test_what_there_is_not_leaves_the_words() -> None:
    browsers = make_browsers()
    steps = method_steps(Browsers())
    assert all(step["words"] and not step["pictures"] and not step["quote"] for step in steps)
    without = method_steps(replace(browsers, samples=browsers.samples[:1]))  # its only variant was not made
    assert [len(step["pictures"]) for step in without] == [0, 0, 0, 0, 2]
    never = [item | {"kind": "failed"} for item in browsers.retrievals]
    assert method_steps(replace(browsers, retrievals=never))[-1]["pictures"] == []
