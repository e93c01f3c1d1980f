"""Classification of pictures: a network, cross-entropy, and the fraction of the test pictures that it gets right.

``mlp`` is the network of the talk on stochastic quasi-Newton methods at MIPT 2020: 784-128-64-10 with ReLU, a
log-softmax and the negative log-likelihood, 109 386 parameters on pictures of 28×28 pixels. ``cnn`` is its network for
CIFAR-10: convolutions of 5×5 to 6 and 16 channels, one pooling between them, and 4096-1000-10. The number of inputs
4096 = 16·16·16 that the talk gives means that both convolutions keep the size of the picture; 4 109 882 parameters.
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
        data: digits, fashion-mnist, synthetic, or a folder with files of MNIST or CIFAR-10.
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


@dataclass
class CNNClassifier(Classification):
    """Two convolutions and two dense layers on pictures: files of CIFAR-10, drawn ones of its size, or smaller ones.

    Source: slides on stochastic quasi-Newton methods, MIPT 2020 (4 109 882 parameters on CIFAR-10, 15 epochs).

    Attributes:
        width: neurons of the hidden dense layer.
    """

    data: str = "synthetic"
    width: int = 1000

    def network(self, pictures: Images, classes: int) -> nn.Module:
        channels, height, width = pictures.train.shape[1:]
        convolutions: list[nn.Module] = [nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        convolutions += [nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.Flatten()]
        dense = [nn.Linear(16 * (height // 2) * (width // 2), self.width), nn.ReLU(), nn.Linear(self.width, classes)]
        return nn.Sequential(*convolutions, *dense)
