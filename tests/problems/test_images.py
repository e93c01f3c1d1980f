"""Pictures from files: what is read is what was written, and nothing is run by reading it."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt import InputError
from problems import images as files
from problems.autoencoder import SHAPES, Autoencoder, curves, network
from problems.images import FASHION, PARTS, idx, images


def write_idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mnist(folder: Path, end: str = "") -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    shapes = [(12, 5, 4), (12,), (6, 5, 4), (6,)]
    arrays = tuple(random.integers(0, 10, shape).astype(np.uint8) for shape in shapes)
    for name, array in zip(PARTS, arrays, strict=True):
        write_idx(folder / f"{name}{end}", array)
    return arrays


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_are_read_as_written(tmp_path: Path, end: str) -> None:
    arrays = mnist(tmp_path, end)
    found = images(str(tmp_path))
    np.testing.assert_array_equal((found.train[:, 0] * 255).round().numpy(), arrays[0])
    np.testing.assert_array_equal(found.test_labels.numpy(), arrays[3])
    assert found.train.shape == (12, 1, 5, 4)
    assert len(images(str(tmp_path), 5).train) == 5


@pytest.mark.parametrize("part", [1, 3])
def test_a_stray_label_is_named_and_a_class_without_pictures_is_none(tmp_path: Path, part: int) -> None:
    labels = mnist(tmp_path)[part].copy()
    labels[2] = 255
    write_idx(tmp_path / PARTS[part], labels)
    with pytest.raises(InputError, match=r"label 255 on 1 pictures"):
        images(str(tmp_path))
    labels[2] = 0
    write_idx(tmp_path / PARTS[part], labels)
    for name in (PARTS[1], PARTS[3]):
        write_idx(tmp_path / name, 1 + idx(tmp_path / name))  # as in files of letters, which are numbered from 1
    assert int(images(str(tmp_path)).train_labels.min()) > 0


def test_cifar_files_are_read_as_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (4, 3073)).astype(np.uint8)
    rows[:, 0] %= 10
    rows.tofile(tmp_path / "data_batch_1.bin")
    rows[:2].tofile(tmp_path / "test_batch.bin")
    found = images(str(tmp_path))
    assert found.train.shape == (4, 3, 32, 32)
    np.testing.assert_array_equal(found.train_labels.numpy(), rows[:, 0])
    assert float(found.train[1, 2, 3, 4]) == pytest.approx(rows[1, 1 + 2 * 1024 + 3 * 32 + 4] / 255)


def test_digits_are_split_always_the_same_way() -> None:
    pytest.importorskip("sklearn")
    found = images("digits")
    assert (len(found.train), len(found.test)) == (1438, 359)
    assert found.train.shape[1:] == (1, 8, 8)
    assert (float(found.train.min()), float(found.train.max())) == (0.0, 1.0)
    assert torch.equal(images("digits").train_labels, found.train_labels)
    assert set(found.test_labels.tolist()) == set(range(10))


def test_clothes_are_those_of_the_package() -> None:
    if not FASHION.is_dir():
        pytest.skip("apt-get install dataset-fashion-mnist")
    found = images("fashion-mnist")
    assert found.train.shape == (60_000, 1, 28, 28)
    assert torch.bincount(found.train_labels).tolist() == [6000] * 10
    assert torch.bincount(found.test_labels).tolist() == [1000] * 10


def test_what_is_missing_or_broken_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist(tmp_path)
    whole = (tmp_path / PARTS[0]).read_bytes()
    cases = {b"": "not an IDX file", b"\x80\x04cos\nsystem": "not an IDX file", whole[:-1]: "another length"}
    for content, words in cases.items():
        (tmp_path / PARTS[0]).write_bytes(content)
        with pytest.raises(InputError, match=words):
            idx(tmp_path / PARTS[0])
    (tmp_path / PARTS[0]).write_bytes(whole)
    (tmp_path / PARTS[3]).unlink()
    with pytest.raises(InputError, match="four files"):
        images(str(tmp_path))
    with pytest.raises(InputError, match="there is no data"):
        images(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="rows=0"):
        images("digits", 0)
    pickled = tmp_path / "cifar"
    pickled.mkdir()
    (pickled / "data_batch_1").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="pickles that run code"):
        images(str(pickled))
    (pickled / "data_batch_1.bin").write_bytes(bytes(100))
    with pytest.raises(InputError, match="CIFAR-10's binary"):
        images(str(pickled))
    monkeypatch.setattr(files, "FASHION", tmp_path / "nowhere")
    with pytest.raises(InputError, match="apt-get install dataset-fashion-mnist"):
        images("fashion-mnist")


def test_autoencoders_have_the_published_widths() -> None:
    published = {
        "mnist": ([784, 1000, 500, 250, 30, 250, 500, 1000, 784], 2_837_314),
        "curves": ([784, 400, 200, 100, 50, 25, 6, 25, 50, 100, 200, 400, 784], 842_340),
        "faces": ([625, 2000, 1000, 500, 30, 500, 1000, 2000, 625], 7_538_655 + 1_500),
    }
    for name, (widths, _) in published.items():
        shape = SHAPES[name]
        assert shape.widths(shape.pixels) == widths
    made = network(published["mnist"][0])
    assert sum(p.numel() for p in made.parameters()) == sum(
        (a + 1) * b for a, b in zip(published["mnist"][0], published["mnist"][0][1:], strict=False)
    )
    assert [type(layer).__name__ for layer in made].count("ReLU") == 6
    assert type(made[6]).__name__ == type(made[7]).__name__ == "Linear"  # the code is linear
    assert SHAPES["mnist"].widths(64) == [64, 82, 41, 20, 9, 20, 41, 82, 64]


def test_pooled_pictures_are_means_of_squares_and_make_a_smaller_network() -> None:
    whole, pooled = (Autoencoder(shape="curves", data="curves", rows=20, pool=pool) for pool in (1, 2))
    pictures = whole.samples.inputs.reshape(20, 14, 2, 14, 2)
    assert torch.allclose(pooled.samples.inputs, pictures.mean((2, 4)).flatten(1), atol=1e-6)
    assert [p.shape[0] for p in pooled.samples.module.parameters()][::2] == SHAPES["curves"].widths(196)[1:]
    with pytest.raises(InputError, match="pool=0 is out of range"):
        Autoencoder(pool=0)
    with pytest.raises(InputError, match="8 pixels a side"):
        _ = Autoencoder(pool=9).samples


def test_curves_are_thin_lines_in_the_middle_of_the_picture() -> None:
    drawn = curves(400)
    assert drawn.shape == (400, 784)
    assert float(drawn.mean()) == pytest.approx(0.0385, rel=0.05)  # of the study that drew them first
    assert 0.9 < float(drawn.max()) <= 1.0
    assert float(drawn.reshape(-1, 28, 28)[:, 0].max()) < 1e-3  # the margin is empty
    assert torch.equal(drawn, curves(400))
    assert not torch.equal(drawn, curves(400, seed=1))


def test_an_autoencoder_learns_the_mean_picture_at_least() -> None:
    problem = Autoencoder(shape="curves", data="curves", rows=300, batch=50, epochs=2)
    first = problem.samples.means({"loss": problem.samples.loss})["loss"]
    run = mlo.solve(problem, "adam")
    assert run.record["loss"] < 0.8 * first
    assert run.record["metrics"]["test_loss"] < 0.8 * first
    assert run.record["test_accuracy"] is None
