"""How the page and the picture of the pipeline are made from `templates/`."""

import jinja2


def environment() -> jinja2.Environment:
    """Jinja's settings for all templates: what is put in is escaped, and what a template misses is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("dlcr.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
