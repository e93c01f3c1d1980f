"""The graph of elements and variables in numbers and in a picture.

Two elements that share no variable can be minimized apart; a variable in many elements couples them. A picture of the
graph says this for a few dozen elements, the sparsity pattern of the Hessian for any number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from multilevel_opt.objective.separable import PartiallySeparable

DRAWN = 80  # elements and variables, at most, that are drawn as a graph


@dataclass(frozen=True)
class Structure:
    """The element–variable graph in numbers.

    Attributes:
        variables: n.
        elements: E.
        sizes: least, median and largest number of variables of an element.
        degrees: least, median and largest number of elements of a variable.
        overlap: fraction of the variables that are in several elements.
        components: connected parts of the graph, those of unused variables included.
        filled: fraction of the entries of the Hessian that may differ from zero.
    """

    variables: int
    elements: int
    sizes: tuple[float, float, float]
    degrees: tuple[float, float, float]
    overlap: float
    components: int
    filled: float

    def __str__(self) -> str:
        sizes, degrees = (f"{a:g} to {c:g}, median {b:g}" for a, b, c in (self.sizes, self.degrees))
        return (
            f"{self.elements} elements of {self.variables} variables\n"
            f"  variables of an element   {sizes}\n"
            f"  elements of a variable    {degrees}\n"
            f"  in several elements       {self.overlap:.1%} of the variables\n"
            f"  connected parts           {self.components}\n"
            f"  Hessian                   {self.filled:.3%} of the entries"
        )


def structure(f: PartiallySeparable) -> Structure:
    """The numbers of the graph of f."""
    graph = _incidence(f)
    sizes, degrees = np.diff(graph.indptr), np.bincount(graph.indices, minlength=f.n)
    elements = graph.shape[0]
    joined = scipy.sparse.block_array([[None, graph], [graph.T, None]])
    parts = connected_components(joined, directed=False, return_labels=False)
    return Structure(
        f.n,
        elements,
        (float(sizes.min()), float(median(sizes)), float(sizes.max())),
        (float(degrees.min()), float(median(degrees)), float(degrees.max())),
        float((degrees > 1).mean()),
        int(parts),
        f.pattern().nnz / f.n**2,
    )


def draw(f: PartiallySeparable, path: Path | str) -> None:
    """A picture of the graph up to 80 nodes, beyond of the pattern of the Hessian.

    Args:
        f: the function.
        path: of the file; its ending says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    if f.n + sum(group.count for group in f.groups) <= DRAWN:
        _graph(f, axes)
    else:
        axes.spy(f.pattern(), markersize=max(0.2, 200 / f.n), color="black")
        axes.set_title(f"pattern of the Hessian, n = {f.n}")
    figure.savefig(path)


def _graph(f: PartiallySeparable, axes: Any) -> None:
    import networkx

    graph = f.graph()
    colors = ["tab:orange" if kind == "element" else "tab:blue" for kind, *_ in graph]
    labels = {node: str(node[-1]) for node in graph}
    places = (
        networkx.kamada_kawai_layout(graph) if networkx.is_connected(graph) else networkx.spring_layout(graph, seed=0)
    )
    networkx.draw_networkx(graph, places, ax=axes, node_color=colors, labels=labels, node_size=180, font_size=7)
    axes.set_title("elements (orange) and variables (blue)")
    axes.set_axis_off()


def _incidence(f: PartiallySeparable) -> Any:
    """Elements by variables, a ``csr_array`` whose entries are 1."""
    columns = [group.indices.cpu().numpy() for group in f.groups]
    lengths = np.concatenate([np.full(len(c), c.shape[1]) for c in columns])
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.concatenate([c.reshape(-1) for c in columns])
    matrix = scipy.sparse.csr_array((np.ones(len(flat)), flat, pointers), shape=(len(lengths), f.n))
    matrix.sum_duplicates()
    return matrix
