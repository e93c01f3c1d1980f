"""Scalar functions of a flat vector: one verb, ``expand(x, order) -> Taylor``, and an algebra."""
