"""The method auto: which rule applies to what, that its run is that of the method chosen, and what it says of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.account import Account
from multilevel_opt.auto import AUTO, RULES, Choice, choose
from multilevel_opt.methods import METHODS
from multilevel_opt.problem import Stage, completed
from multilevel_opt.study.solvers import Task, check_method, solved
from problems.classification import MLPClassifier
from problems.convection import Convection
from problems.helmholtz import Helmholtz
from problems.kovasznay import Kovasznay
from problems.poisson import Poisson

TARGET = {"relative_l2": 1e-6}


class Bowl:
    """Without a residual, or with one; bounds and a method of its own where they are given."""

    def __init__(self, residual: bool = False, **more: Any) -> None:
        self.x0 = torch.full((3,), 0.5, dtype=torch.float64)
        vars(self).update(more)
        if residual:
            self.residual = torch.sinh
        else:
            self.objective = lambda x: torch.cosh(x).sum()


def test_every_rule_names_a_method() -> None:
    assert {rule.method for rule in RULES} <= set(METHODS)
    assert AUTO not in METHODS


@pytest.mark.parametrize(
    ("problem", "method", "why"),
    [
        (Bowl(), "tr2", "no residual"),
        (Bowl(residual=True), "lm", "a residual"),
        (Bowl(residual=True, x_bounds=(0.0, 1.0)), "lm", "bounds"),
        (Bowl(default_method="ar2"), "ar2", "the problem names it"),
        (MLPClassifier(rows=40, width=4, epochs=1), "adam", "the problem names it"),
        (Poisson(nu=20), "lm", "random features"),
        (Helmholtz(nu=10, points=200, width=64), "lm", "random features"),
        (Helmholtz(dim=2, a1=2.0, a2=1.0), "lm", "random features"),
        (Poisson(points=400, width=8), "lm", "a residual"),  # linear, but nothing that eight neurons can fit
        (Kovasznay(points=100), "lm", "a residual"),  # not linear
        (Helmholtz(dim=2, width=8, points=2000), "rows", "2000 rows"),
        (Helmholtz(dim=2, width=8, points=1990), "lm", "a residual"),
    ],
)
def test_the_choice_and_its_reason(problem: Any, method: str, why: str) -> None:
    choice = choose(completed(problem), TARGET)
    assert choice.method == method
    assert why in choice.why
    assert choose(completed(problem), TARGET) == choice


def merely_good() -> Helmholtz:
    return Helmholtz(nu=10, points=200, width=16)


def test_a_start_that_is_merely_good_is_tried_only() -> None:
    problem = completed(merely_good())
    loose, tight, nothing = (choose(problem, until) for until in ({"relative_l2": 0.03}, TARGET, None))
    assert (loose.tentative, tight.tentative, nothing.tentative) == (False, True, True)
    assert "random features" in loose.why
    assert "random features" not in tight.why
    assert choose(completed(Poisson(points=400, width=8)), TARGET).start is None


def test_after_a_start_tried_in_vain_the_run_is_that_from_the_start_of_the_problem() -> None:
    until = {"relative_l2": 1e-14}
    ours, plain = (mlo.solve(merely_good(), name, until=until, max_iterations=9) for name in (None, "lm"))
    assert choose(completed(merely_good()), until).tentative
    assert [e.loss for e in ours.result.history] == [e.loss for e in plain.result.history]
    assert ours.record["flops"] > plain.record["flops"]  # those of the vain attempt as well


def test_the_best_point_seen_is_returned_also_if_it_is_the_start_tried_in_vain() -> None:
    until = {"relative_l2": 1e-14}
    ours, plain = (mlo.solve(merely_good(), name, until=until, max_iterations=1) for name in (None, "lm"))
    start = choose(completed(merely_good()), until).start
    assert start is not None
    assert torch.equal(ours.result.x, start)
    assert ours.record["loss"] == ours.result.fun < plain.result.fun
    assert ours.record["relative_l2"] == ours.result.metrics["relative_l2"] < plain.record["relative_l2"]
    assert ours.record["status"] == plain.record["status"] == "max_iterations"
    assert "random features alone" in ours.record["message"]


@pytest.mark.parametrize("problem", [Helmholtz(nu=10, points=200, width=4), Kovasznay(points=100, width=6)])
def test_the_run_is_that_of_the_method_chosen(problem: Any) -> None:
    ours, plain = (mlo.solve(problem, name, until=TARGET, max_iterations=3).record for name in (None, "lm"))
    assert (ours["method"], plain["method"]) == (AUTO, "lm")
    assert ours["chosen"]["method"] == "lm"
    assert plain["chosen"] is None
    assert ours["loss"] == plain["loss"]
    assert any(ours["chosen"]["why"] in note for note in ours["notes"])


def test_a_start_that_reaches_the_target_takes_no_iteration() -> None:
    record = mlo.solve(Helmholtz(nu=10, points=200, width=64), until=TARGET).record
    assert record["converged"]
    assert record["iterations"] == 0
    assert record["flops"] > 0


def test_the_hierarchy_that_is_announced_tells_the_choice() -> None:
    told: list[str] = []
    mlo.solve(Bowl(residual=True), announce=lambda hierarchy: told.append(str(hierarchy)), max_iterations=1)
    assert "auto chose lm" in told[0]


def test_a_start_that_is_not_finite_is_told_as_for_any_method() -> None:
    problem = Poisson(points=400, width=8)
    problem.x0.fill_(float("nan"))
    with pytest.raises(mlo.InputError, match="NaN"):
        mlo.solve(problem)


def test_levels_go_to_the_method_chosen_or_are_refused_in_a_sentence() -> None:
    many = Helmholtz(dim=2, width=4, points=2000)
    assert mlo.solve(many, levels=2, max_iterations=1, until={"loss": 1e9}).record["levels"] == 2
    with pytest.raises(mlo.InputError, match=r"auto chose lm: .*; but method 'lm' has one level"):
        mlo.solve(Bowl(residual=True), levels=2)
    with pytest.raises(mlo.InputError, match="choose one of auto, lm"):
        mlo.solve(Bowl(), "automatic")


def test_a_curvature_asked_for_keeps_to_one_method() -> None:
    choice = choose(completed(Poisson(nu=20)), curvature="lbfgs")
    assert (choice.method, "lbfgs" in choice.why) == ("lm", True)


def test_slabs_are_chosen_for_one_by_one_and_resumed(tmp_path: Path) -> None:
    problem = Convection(points=60, width=6, depth=2, slabs=2)
    whole = mlo.solve(problem, max_iterations=8, checkpoint=tmp_path / "a.pt").record
    assert whole["method"] == AUTO
    assert whole["chosen"]["method"] == "lm"
    mlo.solve(problem, max_iterations=8, checkpoint=tmp_path / "b.pt", callback=lambda event, x: event.iteration == 2)
    assert mlo.solve(problem, max_iterations=8, checkpoint=tmp_path / "b.pt", resume=True).record["chosen"]


def test_stages_of_different_numbers_of_levels_add_up() -> None:
    account = Account()
    for levels in (1, 2, 1):
        problem = Helmholtz(dim=2, width=4, points=100)
        run = mlo.solve(problem, "rows", levels=levels, max_iterations=1)
        account.add(Stage(problem, "", 1, 1.0, 0.0, lambda x: x), run.result, 0.0, True)
    assert len(account.ledgers) == 2
    assert sum(led.flops for led in account.ledgers) == pytest.approx(sum(r["flops"] for r in account.reports))
    assert len(account.history) > 0


def test_a_study_takes_it() -> None:
    check_method(AUTO, {"levels": 2})
    with pytest.raises(mlo.InputError, match="unknown option"):
        check_method(AUTO, {"lr": 0.1})
    budget = {"max_iterations": 2, "max_seconds": None, "memory": None}
    for problem, method in ((Poisson(nu=5, width=8), "lm"), (MLPClassifier(rows=40, width=4, epochs=1), "adam")):
        record, _, rows = solved(problem, Task("it", AUTO, {}, {}, budget))
        assert record["chosen"]["method"] == method
        assert len(rows) >= 2


def test_a_choice_reads_as_a_sentence() -> None:
    assert str(Choice("lm", "it has a residual")) == "auto chose lm: it has a residual"
