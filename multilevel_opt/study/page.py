"""Pages that need nothing but themselves: templates with escaping on, pictures inside, and a policy against the rest.

The only script that may run is the one that sorts tables: the content security policy of the page names its hash.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from multilevel_opt.notation import in_bytes, number


def render(template: str, *, script: str | None = None, **values: Any) -> str:
    """A page from a template of this folder.

    Args:
        template: its file name.
        script: file name of a script to put inside.
        values: of the template.
    """
    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "bytes": in_bytes}
    code = None if script is None else _text(script)
    digest = None if code is None else f"sha256-{_base64(hashlib.sha256(code.encode()).digest())}"
    inside = None if code is None else Markup(code)
    return environment.get_template(template).render(script=inside, script_hash=digest, **values)


def encoded(data: bytes) -> str:
    """Bytes as a data URI carries them."""
    return _base64(data)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(name: str) -> str:
    return files("multilevel_opt.study").joinpath(name).read_text(encoding="utf-8")
