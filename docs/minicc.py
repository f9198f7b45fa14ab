"""Makes docs/minicc.png, the README's picture: `python docs/minicc.py`.

A row is a person: two pictures each of cameras A, B (the same clothes) and C (other clothes), then its first picture in
three other outfits as the renderer draws them.
"""

from itertools import groupby
from pathlib import Path

from dlcr.minicc import benchmark_scenes, contact_sheet, render

PEOPLE = 6


def main() -> None:
    """Render the sheet beside this file."""
    scenes = [scene for scene in benchmark_scenes() if scene.split == "train"]
    people = [list(group) for _, group in groupby(scenes, lambda scene: scene.subject)][: PEOPLE + 3]
    images = []
    for number, own in enumerate(people[:PEOPLE]):
        cameras = [list(group) for _, group in groupby(own, lambda scene: scene.camera)]
        images += [render(scene).image for camera in cameras for scene in camera[:2]]
        images += [render(own[0], other[-1].outfit).image for other in people[number + 1 : number + 4]]
    contact_sheet(images, columns=9).save(Path(__file__).with_name("minicc.png"), optimize=True)


if __name__ == "__main__":
    main()
