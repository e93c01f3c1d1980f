"""``python -m benchmarks`` runs all benchmarks, ``python -m benchmarks NAME`` one. They print, and assert nothing."""
