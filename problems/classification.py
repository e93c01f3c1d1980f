"""Classification of pictures: a network, cross-entropy, and the fraction of the test pictures that it gets right.

``mlp`` is the network of the talk on stochastic quasi-Newton methods at MIPT 2020: 784-128-64-10 with ReLU, a
log-softmax and the negative log-likelihood, 109 386 parameters on pictures of 28×28 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.nn import functional as F

from multilevel_opt import Samples
from multilevel_opt.training import TrainingProblem, accuracy, error
from problems.images import Images, images


@dataclass
class Classification(TrainingProblem):
    """Base of the classifiers; a subclass gives ``network``.

    Attributes:
        data: digits, fashion-mnist, or a folder with files of MNIST or CIFAR-10.
        rows: so many of the training pictures; none: all.
    """

    data: str = "digits"
    rows: int | None = None

    measures: ClassVar[Mapping[str, object]] = {"accuracy": accuracy, "nll": F.cross_entropy, "error": error}

    def network(self, pictures: Images, classes: int) -> nn.Module:
        """A module from pictures of shape (m, channels, height, width) to scores of shape (m, classes)."""
        return nn.Sequential(nn.Flatten(), nn.Linear(pictures.pixels, classes))

    def made(self) -> tuple[Samples, Samples | None]:
        pictures = images(self.data, self.rows)
        classes = 1 + int(max(pictures.train_labels.max(), pictures.test_labels.max()))
        module = self.network(pictures, classes).to(self.device, self.torch_dtype)
        kinds = ((pictures.train, pictures.train_labels), (pictures.test, pictures.test_labels))
        train, test = (
            Samples(module, F.cross_entropy, x.to(self.device, self.torch_dtype), y.to(self.device)) for x, y in kinds
        )
        return train, test


@dataclass
class MLPClassifier(Classification):
    """A network with two hidden layers of ReLU on pictures: digits, clothes, or files of MNIST or CIFAR-10.

    Source: slides on stochastic quasi-Newton methods, MIPT 2020 (784-128-64-10, 15 epochs).

    Attributes:
        width: neurons of the first hidden layer; the second has half as many.
    """

    width: int = 128

    def network(self, pictures: Images, classes: int) -> nn.Module:
        wide, narrow = self.width, max(1, self.width // 2)
        layers = [nn.Linear(pictures.pixels, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(narrow, classes))
