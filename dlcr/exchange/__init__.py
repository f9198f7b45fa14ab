"""In and out: what other people's code makes, read and judged by this project's protocols."""
