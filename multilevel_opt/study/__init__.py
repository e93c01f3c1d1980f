"""Runs on disk: the folder of a run and its report."""
