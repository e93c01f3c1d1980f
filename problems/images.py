"""Pictures of classes to train on, read from files by plain parsers: nothing that is read is executed.

============== ========================================================================================================
digits         1797 handwritten digits of 8×8 pixels, inside scikit-learn (``pip install multilevel-opt[data]``)
fashion-mnist  70 000 pictures of clothes of 28×28 pixels (Xiao, Rasul & Vollgraf 2017), Debian's package
               ``dataset-fashion-mnist`` (``apt-get install dataset-fashion-mnist``)
synthetic      12 000 drawn pictures of the shape of CIFAR-10 in ten classes, for timing: patterns and noise
a folder       of MNIST's four IDX files (``train-images-idx3-ubyte``, …, also with ``.gz``), or of CIFAR-10's binary
               version (``data_batch_1.bin``, …, ``test_batch.bin``); its Python version is made of pickles, which run
               code when they are read, and is refused
============== ========================================================================================================
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multilevel_opt import InputError

FASHION = Path("/usr/share/datasets/fashion-mnist")
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR = ([f"data_batch_{k}.bin" for k in range(1, 6)], ["test_batch.bin"])
CIFAR_ROW, TEST_DIGITS = 1 + 3 * 32 * 32, 359
DRAWN, DRAWN_TEST, CONTRAST, NOISE = 12_000, 2_000, 0.1, 0.2
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures and their classes.

    Attributes:
        train: shape (m, channels, height, width), float32 in [0, 1].
        train_labels: int64, shape (m,).
        test: as ``train``.
        test_labels: as ``train_labels``.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def pixels(self) -> int:
        """Numbers in a picture."""
        return self.train[0].numel()


def images(data: str, rows: int | None = None) -> Images:
    """The pictures by name or folder, of the training ones the first ``rows``.

    Raises:
        InputError: there is no such data, a package or file is missing, or a file is not what it should be.
    """
    made = DATA[data]() if data in DATA else _folder(Path(data))
    if rows is None:
        return made
    if not 0 < rows <= len(made.train):
        raise InputError(f"rows={rows} is out of range: {data} has {len(made.train)} training pictures")
    return Images(made.train[:rows], made.train_labels[:rows], made.test, made.test_labels)


def _digits() -> Images:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("data=digits needs scikit-learn: pip install scikit-learn") from error
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))  # the same split always; the file is sorted by writer
    all_pixels = torch.from_numpy(pixels[order]).float().reshape(-1, 1, 8, 8) / 16.0
    all_labels = torch.from_numpy(labels[order].astype(np.int64))
    return Images(
        all_pixels[TEST_DIGITS:], all_labels[TEST_DIGITS:], all_pixels[:TEST_DIGITS], all_labels[:TEST_DIGITS]
    )


def _fashion() -> Images:
    if not FASHION.is_dir():
        raise InputError(
            f"data=fashion-mnist is not in {FASHION}: apt-get install dataset-fashion-mnist, or give data=FOLDER"
        )
    return _idx_folder(FASHION)


def _synthetic() -> Images:
    """The pattern of the class, in squares of 4×4 pixels, at a brightness of its own, with noise on every pixel."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.nn.functional.interpolate(torch.randn(10, 3, 8, 8, generator=generator), scale_factor=4.0)
    labels = torch.randint(10, (DRAWN,), generator=generator)
    pixels = NOISE * torch.randn(DRAWN, 3, 32, 32, generator=generator)
    pixels += CONTRAST * patterns[labels] + 0.1 * torch.randn(DRAWN, 1, 1, 1, generator=generator) + 0.5
    cut = DRAWN - DRAWN_TEST
    pixels.clamp_(0.0, 1.0)
    return Images(pixels[:cut], labels[:cut], pixels[cut:], labels[cut:])


def _folder(folder: Path) -> Images:
    if (folder / CIFAR[0][0]).is_file():
        return _cifar(folder)
    if (folder / CIFAR[0][0]).with_suffix("").is_file():
        raise InputError(
            f"{folder} holds the Python version of CIFAR-10, made of pickles that run code: give the binary version"
        )
    if not any(_find(folder, PARTS[0])):
        names = ", ".join(DATA)
        raise InputError(
            f"there is no data {str(folder)!r}: give one of {names}, or a folder with {PARTS[0]} or {CIFAR[0][0]}"
        )
    return _idx_folder(folder)


def _find(folder: Path, name: str) -> list[Path]:
    """The file of this name, plain or compressed, with a dash or a point before ``idx``."""
    names = [variant + end for variant in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    return [folder / candidate for candidate in names if (folder / candidate).is_file()]


def _idx_folder(folder: Path) -> Images:
    arrays = []
    for name in PARTS:
        found = _find(folder, name)
        if not found:
            raise InputError(f"{folder} has no {name} or {name}.gz: give a folder with MNIST's four files")
        arrays.append(idx(found[0]))
    (train, train_labels, test, test_labels) = arrays
    for pictures, labels in ((train, train_labels), (test, test_labels)):
        if pictures.ndim != 3 or labels.shape != (len(pictures),):
            raise InputError(f"{folder} has pictures {pictures.shape} and labels {labels.shape}: give one label each")
    _numbered(folder, np.concatenate([train_labels, test_labels]))
    return Images(_scaled(train[:, None]), _classes(train_labels), _scaled(test[:, None]), _classes(test_labels))


def _numbered(folder: Path, labels: Bytes) -> None:
    """Raise ``InputError`` where most below the largest do not occur: a stray label would add scores for them."""
    classes, counts = np.unique(labels, return_counts=True)
    if classes.size and classes[-1] >= 2 * classes.size:
        raise InputError(
            f"{folder} has label {classes[-1]} on {counts[-1]} pictures and {classes.size - 1} other labels: "
            "number the classes from 0"
        )


def idx(path: Path) -> Bytes:
    """The array of bytes in an IDX file, compressed or not; raises ``InputError``."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {path}: {type(error).__name__}; fetch the file again") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise InputError(f"{path} is not an IDX file of bytes: give MNIST's files")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(content[4:header], dtype=">u4"))
    if len(shape) != dimensions or len(content) - header != int(np.prod(shape, dtype=np.int64)):
        raise InputError(f"{path} should hold an array of shape {shape}, and has another length: fetch it again")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _cifar(folder: Path) -> Images:
    parts = []
    for names in CIFAR:
        rows = [_cifar_rows(folder / name) for name in names if (folder / name).is_file()]
        if not rows:
            raise InputError(f"{folder} has no {names[0]}: give the folder cifar-10-batches-bin")
        parts.append(np.concatenate(rows))
    pictures = [_scaled(part[:, 1:].reshape(-1, 3, 32, 32)) for part in parts]
    labels = [_classes(part[:, 0]) for part in parts]
    return Images(pictures[0], labels[0], pictures[1], labels[1])


def _cifar_rows(path: Path) -> Bytes:
    content = np.fromfile(path, dtype=np.uint8)
    if content.size == 0 or content.size % CIFAR_ROW or int(content[::CIFAR_ROW].max()) > 9:
        raise InputError(f"{path} does not hold rows of a class and 3x32x32 pixels: give CIFAR-10's binary version")
    return content.reshape(-1, CIFAR_ROW)


def _scaled(pixels: Bytes) -> Tensor:
    return torch.from_numpy(pixels.copy()).float() / 255.0


def _classes(labels: Bytes) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))


DATA: dict[str, Callable[[], Images]] = {"digits": _digits, "fashion-mnist": _fashion, "synthetic": _synthetic}
