"""The torch front end: Levenberg-Marquardt on the residuals of any module, one step a call."""

import torch

import multilevel_opt as mlo

torch.manual_seed(0)
X = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None]
y = torch.sin(4 * X[:, 0])
model = torch.nn.Sequential(torch.nn.Linear(1, 30), torch.nn.Tanh(), torch.nn.Linear(30, 1)).double()
optimizer = mlo.optim.Multilevel(model, mlo.LM)

for _ in range(20):
    loss = optimizer.step(lambda: model(X)[:, 0] - y)  # residuals, and no backward()

if __name__ == "__main__":
    print(f"half the sum of squares after 20 steps: {loss:.2e}, last step accepted: {optimizer.last.accepted}")
