"""Training on mini-batches: problems that offer samples, methods by name, and the loop over epochs."""

from multilevel_opt.training.problem import TrainingProblem, accuracy, error
from multilevel_opt.training.trainers import TRAINERS, Trainer

__all__ = ["TRAINERS", "Trainer", "TrainingProblem", "accuracy", "error"]
