"""Networks as functions of points and of one flat parameter vector.

``MLP``             fully connected, of any depth, with skips and embeddings: derivatives and their parameter
                    Jacobian by hand (``operators``, ``adjoints``)
``ModuleNetwork``   any ``torch.nn.Module``, by ``torch.func``: general and slower
``Several``         several networks side by side, each with outputs of its own
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.objective.layout import Layout, mlp_layout
from multilevel_opt.objective.module import FlatModule
from multilevel_opt.pde.activations import Activation, activation
from multilevel_opt.pde.adjoints import row_jacobian
from multilevel_opt.pde.derivatives import channels_at, channels_of
from multilevel_opt.pde.embeddings import Embedding
from multilevel_opt.pde.fronts import Beside, Bounds, Front
from multilevel_opt.pde.initialization import Plan, draw
from multilevel_opt.pde.operators import hidden_layers, output, parameters, propagate
from multilevel_opt.pde.terms import Needs

Jets = tuple[Tensor | None, ...]
Pull = Callable[[Tensor, Tensor], None]


class Network:
    """A function R^d -> R^K of n parameters; a subclass gives ``value``, ``drawn`` and ``size``.

    Attributes:
        inputs: coordinates d of a point.
        outputs: K.
        parts: how many embeddings it has, one for each network inside it.
    """

    inputs: int
    outputs: int = 1
    parts: int = 1

    @property
    def size(self) -> int:
        """Number of parameters n."""
        raise UnsupportedCombination(f"{type(self).__name__} does not say how many parameters it has: define size")

    @property
    def neurons(self) -> Layout | None:
        """Where the parameters of every neuron lie, if its neurons can be coarsened."""
        return None

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        """U at the points z (m, d) for parameters x (n,), shape (m, K); row by row and pure."""
        raise UnsupportedCombination(f"{type(self).__name__} has no value: define value(self, x, z)")

    def jets(self, z: Tensor, needs: Needs) -> Jets:
        """What is fixed at the points z: the channels (C, m, p) of every embedding, or None."""
        return (None,) * self.parts

    def channels(self, x: Tensor, z: Tensor, needs: Needs, jets: Jets | None = None) -> Tensor:
        """The terms of ``needs`` at the points z (m, d), shape (R, m, K): a pure function of x (n,)."""
        return channels_of(lambda y: self.value(x, y), z, needs)

    def traced(self, x: Tensor, z: Tensor, needs: Needs, jets: Jets) -> tuple[Tensor, Pull]:
        """The channels, and a function that writes the rows d/dx Σ seeds · channels into a matrix (m, n)."""

        def row(y: Tensor, point: Tensor, seeds: Tensor) -> Tensor:
            return (Network.channels(self, y, point[None], needs)[:, 0] * seeds).sum()

        def pull(seeds: Tensor, out: Tensor) -> None:
            if len(seeds):
                out.copy_(torch.func.vmap(torch.func.grad(row), in_dims=(None, 0, 1))(x, z, seeds))
            else:
                out.zero_()

        return self.channels(x, z, needs, jets), pull

    def resized(self, widths: Sequence[int]) -> Network:
        """The same kind of network with other hidden widths; raises ``UnsupportedCombination`` if it has none."""
        raise UnsupportedCombination(
            f"{type(self).__name__} cannot be made smaller: use method 'lm', or coarsening 'random'"
        )

    def beside(self, front: Front, bounds: Bounds) -> Network:
        """The same kind of network, given the stretched coordinate of a front as well, if it takes embeddings."""
        return self

    def start(
        self,
        init: str = "scaled",
        *,
        seed: int = 0,
        frequency: float = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """A starting vector (n,): one seed, one start on every device.

        Args:
            init: a key of ``INITIALIZATIONS``.
            seed: of the random numbers.
            frequency: largest wave number ω of the solution along one coordinate, in 1/length.
            dtype: of the vector.
            device: of the vector.

        Raises:
            InputError: unknown ``init``.
        """
        return self.drawn(init, seed, frequency).to(device=device, dtype=dtype)

    def drawn(self, init: str, seed: int, frequency: float) -> Tensor:
        """What ``start`` returns, in any dtype on any device."""
        raise UnsupportedCombination(f"{type(self).__name__} has no start: define drawn(self, init, seed, frequency)")


@dataclass(frozen=True)
class MLP(Network):
    """A fully connected network R^d -> R^K with hidden layers of the given widths.

    Flat order, as in ``mlp_layout``: for every layer the weight (out, in) row by row, then the bias (out,).

    Attributes:
        inputs: d.
        widths: neurons of every hidden layer, at least one layer.
        activation: a key of ``ACTIVATIONS``.
        outputs: K.
        embedding: what the first layer gets in place of the coordinates, or None.
        skip: every hidden layer but the first adds its inputs to its outputs; their widths must agree.

    Raises:
        InputError: no hidden layer, a size below 1, an unknown activation, or skips between unequal widths.
    """

    inputs: int
    widths: tuple[int, ...] = (64,)
    activation: str = "tanh"
    outputs: int = 1
    embedding: Embedding | None = None
    skip: bool = False

    def __post_init__(self) -> None:
        if self.inputs < 1 or not self.widths or min(*self.widths, self.outputs) < 1:
            raise InputError(f"a network of {self.inputs} inputs and widths {self.widths} is empty: use sizes >= 1")
        if self.skip and len(set(self.widths)) > 1:
            raise InputError(f"skips need hidden layers of one width, got {self.widths}: use the same everywhere")
        activation(self.activation)

    @cached_property
    def layout(self) -> Layout:
        """Where the parameters lie in the flat vector."""
        return mlp_layout(self._features, self.widths, self.outputs)

    @property
    def neurons(self) -> Layout | None:
        return None if self.skip else self.layout

    @property
    def size(self) -> int:
        return self.layout.size

    @property
    def sigma(self) -> Activation:
        """The activation with its derivatives."""
        return activation(self.activation)

    def resized(self, widths: Sequence[int]) -> MLP:
        if self.skip:
            raise UnsupportedCombination("a network with skips cannot be made smaller: use method 'lm'")
        return replace(self, widths=tuple(int(w) for w in widths))

    def beside(self, front: Front, bounds: Bounds) -> MLP:
        return replace(self, embedding=Beside(self.inputs, front, bounds[front.axis], self.embedding))

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        return propagate(x, self.layout, self.sigma, self._embedded(z), Needs(), self.skip)[0]

    def jets(self, z: Tensor, needs: Needs) -> Jets:
        if self.embedding is None:
            return (None,)
        return (channels_at(self.embedding, z, needs.carried),)

    def channels(self, x: Tensor, z: Tensor, needs: Needs, jets: Jets | None = None) -> Tensor:
        return propagate(x, self.layout, self.sigma, self._given(z, needs, jets), needs, self.skip)

    def traced(self, x: Tensor, z: Tensor, needs: Needs, jets: Jets) -> tuple[Tensor, Pull]:
        layers = parameters(x, self.layout)
        inputs = self._given(z, needs, jets)
        hidden = hidden_layers(layers, inputs, self.sigma, needs, more=1, skip=self.skip)

        def pull(seeds: Tensor, out: Tensor) -> None:
            row_jacobian(hidden, layers[-1], seeds, needs, self.layout, out)

        return output(hidden[-1], layers[-1], needs), pull

    def drawn(self, init: str, seed: int, frequency: float) -> Tensor:
        sizes = list(pairwise((self._features, *self.widths, self.outputs)))
        omega = frequency if self.embedding is None else self.embedding.frequency(frequency)
        return draw(init, Plan(sizes, omega, self.sigma.steepness), seed)

    @property
    def _features(self) -> int:
        return self.inputs if self.embedding is None else self.embedding.features

    def _embedded(self, z: Tensor) -> Tensor:
        return z if self.embedding is None else self.embedding(z)

    def _given(self, z: Tensor, needs: Needs, jets: Jets | None) -> Tensor:
        (jet,) = self.jets(z, needs) if jets is None else jets
        return z if jet is None else jet


class ModuleNetwork(Network):
    """A ``torch.nn.Module`` that maps points (m, d) to (m, K) or (m,), row by row; it starts where it is.

    Args:
        module: its trainable parameters are the unknowns; it must be of the dtype and on the device of the points.
        inputs: coordinates d of a point.

    Raises:
        InputError: it has no parameters, or does not take points of d coordinates.
    """

    def __init__(self, module: nn.Module, inputs: int) -> None:
        self.flat = FlatModule(module)
        self.module, self.inputs = module, inputs
        self._shapes = [module.get_parameter(name).shape for name in self.flat.names]
        start = self.flat.get()
        try:
            with torch.no_grad():
                shape = module(start.new_full((3, inputs), 0.5)).shape
        except RuntimeError as error:
            raise InputError(
                f"the network does not take points of {inputs} coordinates: {' '.join(str(error).split())}"
            ) from error
        if len(shape) not in (1, 2) or shape[0] != 3:
            raise InputError(f"the network must map points (m, {inputs}) to (m, K), but gave {tuple(shape)} for m = 3")
        self.outputs = 1 if len(shape) == 1 else shape[1]

    @property
    def size(self) -> int:
        return sum(self.flat.sizes)

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        parts = zip(self.flat.names, torch.split(x, self.flat.sizes), self._shapes, strict=True)
        values = {name: part.reshape(shape) for name, part, shape in parts}
        out: Tensor = torch.func.functional_call(self.module, values, (z,))
        return out if out.ndim == 2 else out[:, None]

    def drawn(self, init: str, seed: int, frequency: float) -> Tensor:
        return self.flat.get()
