"""A function of one's own for the command line: mlopt solve docs/examples/valley.py:Valley n=50."""

import multilevel_opt as mlo


class Valley:
    """A bent valley in n dimensions; minimum 0 at (1, ..., 1)."""

    def __init__(self, n: int = 10, steepness: float = 10.0):
        self.x0 = [0.0] * n
        self.steepness = steepness

    def objective(self, x):
        return (self.steepness * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


if __name__ == "__main__":
    result = mlo.solve(Valley()).result
    print(result.x, result.fun)
