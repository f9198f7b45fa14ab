"""Images to faces: a detection score and an embedding each, for GEFF."""

from dlcr.faces.finder import FaceFinder, face_maker, find_faces, load_faces, source_fingerprint
from dlcr.faces.table import Faces, face_schema, join_parts, open_faces, query_and_gallery, write_faces, write_part

__all__ = [
    "FaceFinder",
    "Faces",
    "face_maker",
    "face_schema",
    "find_faces",
    "join_parts",
    "load_faces",
    "open_faces",
    "query_and_gallery",
    "source_fingerprint",
    "write_faces",
    "write_part",
]
