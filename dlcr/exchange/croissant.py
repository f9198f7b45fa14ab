"""MLCommons Croissant 1.0 metadata of an exported set (docs.mlcommons.org/croissant/docs/croissant-spec.html)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dlcr.exchange.cards import CITATION, PAPER, is_own, licence_note, private_note, summary
from dlcr.exchange.sources import Source

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
TYPES = {
    pa.string(): "sc:Text",
    pa.int16(): "cr:Int16",
    pa.int32(): "cr:Int32",
    pa.int64(): "cr:Int64",
    pa.float32(): "cr:Float32",
}
FILES = "parquet-files"
RECORDS = "variants"
# Not contained in the files above it, which are there for their checksums: a set of files is what is read.
FILE_SET = {
    "@type": "cr:FileSet",
    "@id": FILES,
    "name": FILES,
    "encodingFormat": "application/x-parquet",
    "includes": "data/*.parquet",
}


def croissant(source: Source, files: list[Path]) -> dict:
    """The metadata as JSON-LD. files: the set's Parquet files, in data/ beside it, all with the same columns."""
    note = f" {private_note()}" if source.private else ""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": source.name,
        "description": summary(source) + note,
        "url": PAPER,
        "license": "https://spdx.org/licenses/Apache-2.0.html" if is_own(source) else licence_note(source),
        "creator": {"@type": "sc:Organization", "name": "dlcr, by whoever ran it"},
        "datePublished": datetime.now(UTC).date().isoformat(),
        "version": "1.0.0",
        "citeAs": CITATION,
        "isLiveDataset": False,
        "distribution": [*map(_file, files), FILE_SET],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORDS,
                "name": RECORDS,
                "description": "A record for each variant.",
                "key": [{"@id": f"{RECORDS}/image_id"}, {"@id": f"{RECORDS}/variant"}],
                "field": [_field(column) for column in pq.read_schema(files[0])],
            }
        ],
    }


def _file(path: Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": f"data/{path.name}",
        "name": path.name,
        "contentUrl": f"data/{path.name}",
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _field(column: pa.Field) -> dict:
    source = {"fileSet": {"@id": FILES}, "extract": {"column": column.name}}
    if column.name == "image":
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"{RECORDS}/{column.name}",
        "name": column.name,
        "dataType": "sc:ImageObject" if column.name == "image" else TYPES[column.type],
        "source": source,
    }
