"""Kinds of networks by name, for a domain, a number of outputs, widths, an activation and a wave number."""

from __future__ import annotations

from collections.abc import Callable

from multilevel_opt.errors import InputError
from multilevel_opt.pde.domains import Domain
from multilevel_opt.pde.embeddings import Chain, Embedding, Fourier, Scaled
from multilevel_opt.pde.networks import MLP, Network

FEATURES = 16  # random wave vectors of ``fourier``
REACH = 1.01  # coordinates up to this size go into a network as they are

Maker = Callable[[Domain, int, tuple[int, ...], str, float, int], Network]


def scaling(domain: Domain) -> Embedding | None:
    """Coordinates mapped to [-1, 1]; None where they lie about there anyway, and stay as they are."""
    if all(abs(end) <= REACH for side in domain.bounds for end in side):
        return None
    return Scaled(domain.bounds)


def _mlp(domain: Domain, outputs: int, widths: tuple[int, ...], name: str, omega: float, seed: int) -> Network:
    """Fully connected."""
    return MLP(domain.dim, widths, name, outputs, scaling(domain))


def _residual(domain: Domain, outputs: int, widths: tuple[int, ...], name: str, omega: float, seed: int) -> Network:
    """Fully connected, every hidden layer but the first adds its inputs."""
    return MLP(domain.dim, widths, name, outputs, scaling(domain), skip=True)


def _fourier(domain: Domain, outputs: int, widths: tuple[int, ...], name: str, omega: float, seed: int) -> Network:
    """Fully connected on random Fourier features of the wave number of the solution."""
    scaled = Scaled(domain.bounds)
    waves = Fourier.random(domain.dim, FEATURES, scaled.frequency(omega) / 2, seed)
    return MLP(domain.dim, widths, name, outputs, Chain((scaled, waves)))


ARCHITECTURES: dict[str, Maker] = {"mlp": _mlp, "residual": _residual, "fourier": _fourier}


def architecture(name: str) -> Maker:
    """The maker of that name.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {name!r} is unknown: choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
