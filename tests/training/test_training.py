"""Training through ``solve``: epochs, targets, limits, and runs that go on exactly where they stopped."""

import collections
import itertools
import json
import tomllib
from pathlib import Path

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt import InputError, Status, UnsupportedCombination, cli, ledger
from multilevel_opt.training import TRAINERS
from multilevel_opt.training.problem import TrainingProblem
from problems import Autoencoder, CNNClassifier, MLPClassifier, Poisson, PSNetPictures

QUICK = {"epochs": 3, "rows": 400, "batch": 50, "width": 16}
PARTITIONED = {"pggn", "plbfgs", "plsr1", "plse"}


def problem_of(method: str, epochs: int) -> TrainingProblem:
    """A small problem that the method can train."""
    if method in PARTITIONED:
        return PSNetPictures(epochs=epochs, rows=300, batch=50, activation="tanh", loss="exp")
    return MLPClassifier(**QUICK | {"epochs": epochs})


def history(run: mlo.solve) -> list[tuple[int, float, float]]:
    return [(event.iteration, event.loss, event.metrics["test_nll"]) for event in run.result.history]


@pytest.mark.parametrize("method", TRAINERS)
def test_every_method_lowers_the_loss_and_fills_the_record(method: str) -> None:
    problem = problem_of(method, 3)
    before = problem.samples.means({"loss": problem.samples.loss})["loss"]
    run = mlo.solve(problem, method)
    record = run.record
    assert run.result.status is Status.EPOCHS
    assert run.result.success
    assert record["loss"] < before
    assert record["iterations"] == 3
    assert 0 <= record["test_accuracy"] <= 1
    assert record["test_accuracy"] == pytest.approx(1 - record["metrics"]["test_error"])
    assert record["test_nll"] > 0
    assert record["evaluations"]["gradient"][0] >= 3 * len(problem.samples) // 50
    assert record["method_options"] == dict(TRAINERS[method].options)
    json.dumps(record)
    assert mlo.solve(problem, method).record["loss"] == record["loss"]  # the same start, the same order
    assert torch.equal(problem.samples.x, run.result.x)


@pytest.mark.parametrize("method", [name for name in TRAINERS if name not in PARTITIONED])
def test_flops_are_those_of_the_gradients_at_least(method: str) -> None:
    record = mlo.solve(MLPClassifier(**QUICK), method).record
    forward = 2 * 50 * (64 * 16 + 16 * 8 + 8 * 10)
    gradient = 2 * forward + 2 * 50 * (16 * 8 + 8 * 10)  # no derivative with respect to the pictures
    assert record["flops"] >= record["evaluations"]["gradient"][0] * gradient > 0


def test_the_parameters_are_those_of_the_slides() -> None:
    net = MLPClassifier.network(MLPClassifier(), _Pixels(784), 10)  # type: ignore[arg-type]
    assert sum(p.numel() for p in net.parameters()) == 109_386


class _Pixels:
    def __init__(self, pixels: int) -> None:
        self.pixels = pixels


def test_the_convolutions_are_those_of_the_slides() -> None:
    problem = CNNClassifier(epochs=1, rows=40, batch=20)  # drawn pictures of the shape of CIFAR-10
    assert problem.samples.inputs.shape == (40, 3, 32, 32)
    assert problem.x0.numel() == 4_109_882
    before = problem.samples.mean_loss()
    run = mlo.solve(problem, "adam")
    assert run.record["loss"] < before
    small = CNNClassifier(data="digits", rows=30, width=12)
    assert [tuple(p.shape) for p in small.samples.module.parameters()][4] == (12, 16 * 4 * 4)


def test_batches_that_grow_take_fewer_steps_to_an_epoch_and_resume(tmp_path: Path) -> None:
    problem = MLPClassifier(**QUICK | {"epochs": 4, "batch": 20})
    fixed = mlo.solve(problem, "multibatch-lbfgs").record
    growing = {"progressive": 0.3}
    straight = mlo.solve(problem, "multibatch-lbfgs", options=growing)
    assert straight.record["evaluations"]["gradient"][0] < fixed["evaluations"]["gradient"][0]
    assert straight.record["flops"] == pytest.approx(fixed["flops"], rel=0.1)  # an epoch is an epoch
    path = tmp_path / "checkpoint.pt"
    mlo.solve(problem, "multibatch-lbfgs", options=growing, max_iterations=2, checkpoint=path)
    onward = mlo.solve(problem, "multibatch-lbfgs", options=growing, checkpoint=path, resume=True)
    assert history(onward) == history(straight)


def test_weight_decay_is_part_of_the_training_loss_alone() -> None:
    plain, decayed = (Autoencoder(rows=60, epochs=1, weight_decay=tau, dtype="float64") for tau in (0.0, 0.1))
    f, g, x = plain.samples, decayed.samples, plain.x0
    (loss, gradient), (more, steeper) = (s.loss_grad(range(30), x) for s in (f, g))
    assert more == pytest.approx(loss + 0.05 * float(x @ x), rel=1e-12)
    torch.testing.assert_close(steeper, gradient + 0.1 * x)
    torch.testing.assert_close(g.hvp(x, range(30)), f.hvp(x, range(30)) + 0.1 * x)
    assert float(g.batch(range(30)).part(0, 30)().detach()) == pytest.approx(more, rel=1e-12)
    assert g.mean_loss() == pytest.approx(f.mean_loss() + 0.05 * float(x @ x), rel=1e-12)
    measured = [problem.metrics["test_loss"](x) for problem in (plain, decayed)]
    assert measured[0] == measured[1]
    with pytest.raises(InputError, match="weight_decay=-1"):
        _ = Autoencoder(weight_decay=-1.0).samples


def test_a_target_that_rises_and_one_that_falls() -> None:
    problem = MLPClassifier(**QUICK | {"epochs": 40})
    run = mlo.solve(problem, "adam", options={"lr": 0.01}, until={"test_accuracy": 0.6})
    assert run.result.status is Status.TARGET
    assert "test_accuracy" in run.result.message
    assert ">= 0.6" in run.result.message
    assert run.record["test_accuracy"] >= 0.6
    assert run.result.nit < 40
    fall = mlo.solve(problem, "adam", options={"lr": 0.01}, until={"test_error": 0.4})
    assert fall.result.nit == run.result.nit
    missed = mlo.solve(MLPClassifier(**QUICK), "sgd", until={"test_accuracy": 1.0})
    assert (missed.result.status, missed.result.success) == (Status.MAX_ITERATIONS, False)


@pytest.mark.parametrize("method", TRAINERS)
def test_an_interrupted_run_goes_on_bit_for_bit(method: str, tmp_path: Path) -> None:
    straight = mlo.solve(problem_of(method, 4), method)

    def interrupt(event: mlo.Event) -> None:
        if event.iteration == 2 and not again:
            raise KeyboardInterrupt

    again = False
    path = tmp_path / "checkpoint.pt"
    stopped = mlo.solve(problem_of(method, 4), method, listener=interrupt, checkpoint=path)
    assert stopped.result.status is Status.INTERRUPTED
    assert stopped.result.nit == 1
    again = True
    onward = mlo.solve(problem_of(method, 4), method, listener=interrupt, checkpoint=path, resume=True)
    assert history(onward) == history(straight)
    assert torch.equal(onward.result.x, straight.result.x)
    assert onward.record["evaluations"] == straight.record["evaluations"]


def test_a_limit_of_seconds_ends_within_an_epoch_which_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    straight = mlo.solve(MLPClassifier(**QUICK), "sgd")
    ticks = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(ledger.time, "perf_counter", lambda: float(next(ticks)))
        cut = mlo.solve(MLPClassifier(**QUICK), "sgd", max_seconds=25, checkpoint=path)
    assert cut.result.status is Status.MAX_SECONDS
    assert [event.note for event in cut.result.history][-1] == "a part of an epoch"
    assert cut.result.nit == len(cut.result.history) - 1 < 3
    onward = mlo.solve(MLPClassifier(**QUICK), "sgd", checkpoint=path, resume=True)
    assert history(onward) == history(straight)


def test_a_run_that_blows_up_returns_its_best_weights_and_says_so() -> None:
    problem = MLPClassifier(**QUICK)
    before = problem.samples.means({"loss": problem.samples.loss})["loss"]
    run = mlo.solve(problem, "momentum", options={"lr": 1e38})
    assert run.result.status is Status.NON_FINITE
    assert not run.result.success
    assert run.record["loss"] == pytest.approx(before)
    assert bool(torch.isfinite(run.result.x).all())


def test_what_is_tested_and_returned_is_the_mean_of_the_weights_where_one_is_kept() -> None:
    problem = problem_of("pggn", 2)
    mean = mlo.solve(problem, "pggn", options={"average": 1.0})
    last = mlo.solve(problem_of("pggn", 2), "pggn", options={"average": 0.0})
    assert not torch.equal(mean.result.x, last.result.x)
    assert mean.result.metrics["test_nll"] == pytest.approx(problem.metrics["test_nll"](mean.result.x))
    assert mean.result.fun == pytest.approx(float(problem.objective(mean.result.x)), rel=1e-5)


def test_random_numbers_outside_are_untouched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    mlo.solve(MLPClassifier(**QUICK | {"epochs": 1}), "sgd")
    assert torch.equal(torch.rand(3), expected)


def test_any_solver_takes_the_problem_as_a_function_of_its_weights() -> None:
    problem = MLPClassifier(epochs=1, rows=60, width=4, dtype="float64")
    run = mlo.solve(problem, "tr2", max_iterations=5)
    assert run.record["loss"] < problem.samples.loss_grad(slice(None), problem.x0)[0]


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    problem = MLPClassifier(**QUICK)
    cases = [
        (lambda: mlo.solve(Poisson(nu=5, width=8), "adam"), UnsupportedCombination, "trains on samples"),
        (lambda: mlo.solve(problem, "adam", levels=2), InputError, "takes no levels=2"),
        (lambda: mlo.solve(problem, "adam", options={"rate": 1.0}), InputError, "the options are lr=0.001"),
        (lambda: mlo.solve(problem, "adam", options={"lr": "much"}), InputError, "not like its default"),
        (lambda: mlo.solve(problem, "adan"), InputError, "unknown method 'adan'"),
        (lambda: mlo.solve(problem, "adam", until={"accuracy": 0.5}), InputError, "unknown target"),
        (lambda: MLPClassifier(epochs=0), InputError, "epochs=0"),
        (lambda: MLPClassifier(dtype="half"), InputError, "unknown dtype"),
        (lambda: Autoencoder(shape="round"), InputError, "unknown shape"),
    ]
    for call, error, words in cases:
        with pytest.raises(error, match=words):
            call()


def test_the_command_line_trains_writes_a_folder_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["mlp", "rows=300", "width=8", "epochs=2", "--option", "lr=0.01", "--out", str(tmp_path / "run"), "--quiet"]
    assert cli.main(["solve", *words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["method"], record["chosen"]["method"]) == ("auto", "adam")
    assert record["method_options"]["lr"] == 0.01
    assert (tmp_path / "run" / "report.html").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["options"] == {"lr": 0.01}
    assert cli.main(["resume", str(tmp_path / "run")]) == 0
    assert "nothing to resume" in capsys.readouterr().err
    assert cli.main(["solve", "mlp", "--method", "adam", "--option", "lr"]) == 2
    assert cli.main(["solve", "mlp", "epochs=1", "rows=100", "--until", "test_accuracy=1", "--quiet"]) == 1


@pytest.mark.parametrize("size", ["", "-quick"])
def test_the_slides_methods_are_tuned_on_equal_budgets(size: str) -> None:
    file = Path(__file__).parents[2] / "problems" / "studies" / f"mipt2020{size}.toml"
    methods = tomllib.loads(file.read_text(encoding="utf-8"))["methods"]
    settings = collections.Counter(table["method"] for table in methods)
    assert set(settings) == {"sgd", "momentum", "adam", "sgd-bb", "multibatch-lbfgs", "lbfgs"}
    assert set(settings.values()) == {2 if size else 4}
    assert all(set(table["options"]) == {"lr"} for table in methods)


def test_a_study_compares_methods_of_training(tmp_path: Path) -> None:
    study = tmp_path / "digits.toml"
    methods = "".join(f'[[methods]]\nname = "{name}"\nmethod = "{name}"\n' for name in ("adam", "sgd-bb"))
    study.write_text(
        'name = "digits"\nseeds = "0-1"\nuntil = { test_error = 0.5 }\n[budget]\nmax_iterations = 3\nmax_seconds = 60\n'
        '[[problems]]\nproblem = "mlp"\nparameters = { epochs = 3, width = 16, rows = 300, batch = 30 }\n' + methods
    )
    assert cli.main(["study", str(study), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    records = mlo.Records.load(tmp_path / "out")
    assert len(records) == 4
    for record in records:
        assert record["error"] is None
        assert record["history_columns"][-3:] == ["test_accuracy", "test_nll", "test_error"]
        assert record["history"][0][0] == 0
        assert len(record["history"]) == record["iterations"] + 1
    assert cli.main(["report", str(tmp_path / "out")]) == 0
