"""Evolution problems marched in slabs: one solution, one record, and a run that can be stopped anywhere."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Evolution, Field, Interval, Time
from multilevel_opt.result import Event, Status
from multilevel_opt.solution_pictures import solution_values


@dataclass(frozen=True, kw_only=True)
class Spring(Evolution):
    """u_tt = -16 u with u = cos(4t) (1 + x): nothing moves in x."""

    width: int | None = 10
    points: int | str | None = 60
    slabs: int | str | None = 3

    def domain(self) -> Domain:
        return Interval(0.0, 1.0) * Time(1.5)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.tt + 16.0 * u.value

    def start(self, z: Tensor) -> Tensor:
        return 1.0 + z[:, 0]

    def velocity(self, z: Tensor) -> Tensor:
        return 0.0 * z[:, 0]

    def exact(self, z: Tensor) -> Tensor:
        return torch.cos(4.0 * z[:, 1]) * (1.0 + z[:, 0])

    def frequency(self) -> float:
        return 4.0

    def rate(self) -> float:
        return 4.0


class Decay(Spring):
    """u_t = -2u."""

    velocity = Evolution.velocity

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t + 2.0 * u.value

    def exact(self, z: Tensor) -> Tensor:
        return torch.exp(-2.0 * z[:, 1]) * (1.0 + z[:, 0])


class Restless(Decay):
    """u_t = 20 cos(20 t), which a few points do not see over a long time."""

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t - 20.0 * torch.cos(20.0 * z[:, 1])

    def exact(self, z: Tensor) -> Tensor:
        return 1.0 + z[:, 0] + torch.sin(20.0 * z[:, 1])

    def frequency(self) -> float:
        return 20.0

    def rate(self) -> float:
        return 20.0


def times(*values: float) -> Tensor:
    return torch.tensor([[0.3, t] for t in values], dtype=torch.float64)


@pytest.mark.parametrize(
    "problem", [Spring(width=20, points=120), Decay(), Decay(slabs=1), Decay(width=6, depth=2, slabs=2)]
)
def test_the_whole_reaches_its_target(problem: Evolution) -> None:
    run = mlo.solve(problem, until={"relative_l2": 1e-2}, max_iterations=300)
    z = torch.rand(200, 2, dtype=torch.float64) * torch.tensor([1.0, 1.5])
    u = problem.exact(z)
    assert run.result.success
    assert float((problem.solution(run.result.x, z) - u).norm() / u.norm()) < 2e-2
    assert run.record["relative_l2"] == pytest.approx(problem.relative_l2(run.result.x))
    assert run.record["overfit"] is False


@pytest.mark.parametrize("kind", [Spring, Decay])
def test_slabs_are_continuous_whatever_the_parameters(kind: type[Evolution]) -> None:
    problem = kind(slabs=3)
    rows = torch.cat([torch.randn(3, problem.x0.numel(), dtype=torch.float64), times(0.5, 1.0, 1.5)[:, 1:]], dim=1)
    u = problem.function(rows.reshape(-1))
    for t in (0.5, 1.0):
        before, after = u(times(t - 1e-9, t + 1e-9))
        assert float(after - before) == pytest.approx(0.0, abs=1e-6)
        slopes = torch.func.jvp(u, (times(t - 1e-9, t + 1e-9),), (torch.tensor([[0.0, 1.0]] * 2).double(),))[1]
        assert (abs(float(slopes.diff())) < 1e-5) == (
            kind is Spring
        )  # the velocity of an equation of first order jumps
    assert float(u(times(0.0))) == pytest.approx(1.3, abs=1e-12)


def test_the_record_sums_what_the_slabs_cost() -> None:
    seen: list[Event] = []
    run = mlo.solve(Decay(), until={"relative_l2": 1e-3}, listener=seen.append)
    stages = run.record["stages"]
    assert [stage["name"] for stage in stages] == ["slab 1 to t = 0.5", "slab 2 to t = 1", "slab 3 to t = 1.5"]
    for key in ("iterations", "flops", "seconds"):
        assert run.record[key] == pytest.approx(sum(stage[key] for stage in stages))
    assert run.result.history == tuple(seen)
    assert [event.iteration for event in seen] == list(range(1, run.result.nit + 1))
    assert all(a.flops < b.flops and a.seconds <= b.seconds for a, b in pairwise(seen))


def test_shares_of_targets_grow_with_time() -> None:
    run = mlo.solve(Decay(), until={"relative_l2": 1e-2})
    errors = [stage["metrics"]["relative_l2"] for stage in run.record["stages"]]
    assert all(error <= 1e-2 * share for error, share in zip(errors, (1 / 6, 3 / 6, 5 / 6), strict=True))


def test_limits_are_shared_equally() -> None:
    run = mlo.solve(Decay(), until={"relative_l2": 1e-12}, max_iterations=12)
    assert [stage["iterations"] for stage in run.record["stages"]] == [4, 4, 4]
    assert run.result.status is Status.MAX_ITERATIONS
    assert run.result.message.startswith("slab 1 to t = 0.5 missed its target: ")
    assert run.result.message.endswith("2 later stages as well")


class Cut(Exception):
    pass


@pytest.mark.parametrize("after", [2, 7, 11])
def test_a_run_resumed_in_any_slab_is_the_uninterrupted_one(after: int, tmp_path: Path) -> None:
    problem, options = Decay(), {"until": {"relative_l2": 1e-9}, "max_iterations": 15}
    whole = mlo.solve(problem, **options).result

    def interrupt(event: Event, x: Tensor) -> None:
        if event.iteration == after:
            raise KeyboardInterrupt

    cut = mlo.solve(problem, **options, checkpoint=tmp_path / "c.pt", callback=interrupt).result
    assert cut.status is Status.INTERRUPTED
    assert cut.nit < whole.nit
    assert bool(problem.solution(cut.x, times(1.5)).isnan()) == (after < 11)  # the last slab has begun
    assert not bool(problem.solution(cut.x, times(0.1)).isnan())
    rest = mlo.solve(problem, **options, checkpoint=tmp_path / "c.pt", resume=True).result
    assert torch.equal(rest.x, whole.x)
    assert [replace(e, seconds=0.0) for e in rest.history] == [replace(e, seconds=0.0) for e in whole.history]
    again = mlo.solve(problem, **options, checkpoint=tmp_path / "c.pt", resume=True).result
    assert torch.equal(again.x, whole.x)
    assert again.nit == whole.nit


def test_a_plain_checkpoint_is_not_one_of_slabs(tmp_path: Path) -> None:
    mlo.solve(Decay(slabs=1), max_iterations=2, checkpoint=tmp_path / "c.pt")
    with pytest.raises(InputError, match="is not a checkpoint of a run in stages"):
        mlo.solve(Decay(), checkpoint=tmp_path / "c.pt", resume=True)
    with pytest.raises(InputError, match="needs the checkpoint to continue from"):
        mlo.solve(Decay(), resume=True)


def test_automatic_slabs_are_halved_where_the_held_out_residual_parts() -> None:
    problem = Restless(slabs="auto", width=16, points=80, seed=1)
    run = mlo.solve(problem, until={"relative_l2": 3e-2}, max_iterations=400, options={"refine": 0})
    assert run.result.success
    given_up = [stage for stage in run.record["stages"] if stage["message"].startswith("given up")]
    assert given_up
    assert run.record["iterations"] == sum(stage["iterations"] for stage in run.record["stages"])
    easy = mlo.solve(Decay(slabs="auto"), until={"relative_l2": 1e-3})
    assert len(easy.record["stages"]) == 1


def test_one_slab_of_the_same_overfits() -> None:
    problem = Restless(slabs=1, width=16, points=80, seed=1)
    run = mlo.solve(problem, until={"relative_l2": 3e-2}, max_iterations=100, options={"refine": 0})
    assert not run.result.success
    assert run.record["overfit"] is True
    assert "overfit: the residual is" in run.result.message
    assert mlo.solve(problem, until={"relative_l2": 3e-2}, max_iterations=100).result.success  # with more points


def test_a_user_may_stop_the_march() -> None:
    run = mlo.solve(Decay(), callback=lambda event, x: event.iteration == 8, max_iterations=15)
    assert run.result.status is Status.USER
    assert run.result.nit == 8


def test_the_picture_shows_all_slabs() -> None:
    problem = Decay(slabs=2)
    x = mlo.solve(problem, until={"relative_l2": 1e-2}).result.x
    values = solution_values(problem, x)
    assert values is not None
    assert abs(values["network"] - values["exact"]).max() < 0.05


@pytest.mark.parametrize("slabs", [0, -1, "many", 1.5])
def test_bad_slabs_are_refused(slabs: object) -> None:
    with pytest.raises(InputError, match="slabs must be a whole number >= 1 or auto, got"):
        Decay(slabs=slabs)  # type: ignore[arg-type]


def test_a_domain_without_time_is_refused() -> None:
    class Timeless(Decay):
        def domain(self) -> Domain:
            return Interval(0.0, 1.0)

    with pytest.raises(InputError, match="Timeless has no time"):
        Timeless()


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="numbers, or 42 for every slab, got 7"):
        Decay().function(torch.zeros(7, dtype=torch.float64))
