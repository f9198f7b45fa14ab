"""Small trees of the real datasets' official layouts, for the tests of whatever reads them."""

from pathlib import Path

from PIL import Image

Row = tuple[str, str, str, str, int]  # subject, clothes, camera, split, frame

# By reader: the dataset's own folder, and its files with the labels that a reader must find.
LAYOUTS: dict[str, tuple[str, dict[str, Row]]] = {
    "prcc": (
        "prcc/rgb",
        {
            "train/001/A_cropped_rgb001.jpg": ("001", "001-AB", "A", "train", 1),
            "train/001/C_cropped_rgb0303.JPG": ("001", "001-C", "C", "train", 303),
            "val/001/A_cropped_rgb555.jpg": ("001", "001-AB", "A", "val", 555),
            "test/A/005/cropped_rgb001.jpg": ("005", "005-AB", "A", "gallery", 1),
            "test/B/005/cropped_rgb002.jpeg": ("005", "005-AB", "B", "query_sc", 2),
            "test/C/005/cropped_rgb003.jpg": ("005", "005-C", "C", "query", 3),
        },
    ),
    "ltcc": (
        "LTCC_ReID",
        {
            "train/008_1_c2_013548.png": ("008", "008-1", "2", "train", 13548),
            "train/008_12_c12_000001.PNG": ("008", "008-12", "12", "train", 1),
            "query/131_2_c3_000007.png": ("131", "131-2", "3", "query", 7),
            "test/131_1_c1_000008.png": ("131", "131-1", "1", "gallery", 8),
        },
    ),
    "vc-clothes": (
        "VC-Clothes",
        {
            "train/0001-01-01-02.jpg": ("0001", "0001-01", "1", "train", 2),
            "train/0001-04-02-10.JPG": ("0001", "0001-02", "4", "train", 10),
            "query/0300-03-01-01.jpg": ("0300", "0300-01", "3", "query", 1),
            "gallery/0300-04-02-01.jpeg": ("0300", "0300-02", "4", "gallery", 1),
        },
    ),
    "last": (
        "last",
        {
            "train/000001/000001_film_sc2_5.jpg": ("1", "1-000001_5", "", "train", 0),
            "train/000001/000001_film_sc3_06.JPG": ("1", "1-000001_06", "", "train", 0),
            "val/query/000007_film.jpg": ("7", "", "", "val_query", 0),
            "val/gallery/000007/000007_x_1.jpg": ("7", "", "", "val_gallery", 0),
            "test/query/000010_film_2.jpg": ("10", "", "", "query", 0),
            "test/gallery/000010/000010_film_9.jpeg": ("10", "", "", "gallery", 0),
        },
    ),
    "ccvid": (
        "CCVID",
        {
            "session1/001_01/00001.jpg": ("001", "001-u0_l0", "1", "train", 1),
            "session1/001_01/00010.JPG": ("001", "001-u0_l0", "1", "train", 10),
            "session2/075_12/00003.jpg": ("075", "075-u1_l0", "12", "query", 3),
            "session3/075_02/00004.jpg": ("075", "075-u2_l1", "14", "gallery", 4),
        },
    ),
}
# CCVID's lists of tracklets.
LISTS = {
    "train.txt": "session1/001_01\t001\tu0_l0\n",
    "query.txt": "session2/075_12\t075\tu1_l0\n",
    "gallery.txt": "session3/075_02\t075\tu2_l1\n\n",
}
# An image of each dataset, for the tests that damage one.
FIRST = {
    "prcc": "train/001/A_cropped_rgb001.jpg",
    "ltcc": "train/008_1_c2_013548.png",
    "vc-clothes": "train/0001-01-01-02.jpg",
    "last": "test/gallery/000010/000010_film_9.jpeg",
    "ccvid": "session1/001_01/00001.jpg",
}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 8), (90, 120, 30)).save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG")


def tree(name: str, folder: Path) -> Path:
    """The dataset's own folder, made below `folder`; files come in no particular order."""
    top = folder / LAYOUTS[name][0]
    for file in sorted(LAYOUTS[name][1], key=lambda file: file[::-1]):
        image(top / file)
    for file, text in LISTS.items() if name == "ccvid" else ():
        (top / file).write_text(text)
    return top
