"""What there is to know of the registered problems: names by group, and everything about one of them.

Group, summary, source and minimum come from the class itself: its attribute ``group`` and its docstring.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from importlib.metadata import entry_points

from multilevel_opt.errors import InputError
from multilevel_opt.objective.separable import PartiallySeparable
from multilevel_opt.registry import GROUP, Parameter, loaded, parameters

OTHERS = "other problems"
_SECTION = re.compile(r"^(Attributes|Args):\n((?:[ ]+.*\n?|\n)*)", re.MULTILINE)
_ITEM = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A problem of the list.

    Attributes:
        name: as registered.
        summary: the first line of its docstring; why it cannot be loaded, where it cannot.
        group: the heading it stands under.
    """

    name: str
    summary: str
    group: str


@dataclass(frozen=True)
class Description:
    """All about one problem.

    Attributes:
        text: its docstring without the list of parameters.
        parameters: each with what it means, where a docstring says so.
    """

    text: str
    parameters: tuple[tuple[Parameter, str], ...]


def available() -> list[Entry]:
    """All registered problems, by group and name; one that cannot be loaded says so in its summary."""
    entries = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            found = loaded(point)
        except InputError as error:
            entries.append(Entry(point.name, str(error), OTHERS))
        else:
            summary = (inspect.getdoc(found) or "").strip().partition("\n")[0]
            entries.append(Entry(point.name, summary, str(getattr(found, "group", OTHERS))))
    return sorted(entries, key=lambda entry: (entry.group == OTHERS, entry.group, entry.name))


def described(problem: type) -> Description:
    """What the docstrings of a problem class and of its bases say."""
    own = inspect.cleandoc(problem.__doc__ or "")
    told: dict[str, str] = {}
    for base in problem.__mro__:
        for section in _SECTION.finditer(inspect.cleandoc(vars(base).get("__doc__") or "") + "\n"):
            told = {name: " ".join(text.split()) for name, text in _ITEM.findall(section[2])} | told
    text = _SECTION.sub("", own + "\n").strip()
    return Description(text, tuple((p, told.get(name, "")) for name, p in parameters(problem).items()))


def separable(problem: type) -> PartiallySeparable | None:
    """The elements of a problem with its default parameters; None where it declares none."""
    if not hasattr(problem, "elements"):
        return None
    exact = problem().objective.exact
    return exact if isinstance(exact, PartiallySeparable) else None
