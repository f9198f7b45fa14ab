"""Images to faces: a detection score and an embedding each, for GEFF."""

from dlcr.faces.finder import FaceFinder, find_faces, load_faces, source_fingerprint
from dlcr.faces.table import Faces, face_schema, open_faces, query_and_gallery, write_faces

__all__ = [
    "FaceFinder",
    "Faces",
    "face_schema",
    "find_faces",
    "load_faces",
    "open_faces",
    "query_and_gallery",
    "source_fingerprint",
    "write_faces",
]
