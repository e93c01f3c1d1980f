"""Maps between levels: prolongations of vectors, made from couplings, grids, or a choice of neurons.

The algebraic way is a chain: coupling matrix of the neurons (``coupling``), coarse and fine neurons
(``splitting``), weights between them (``interpolation``), and the extension from neurons to parameters
(``blocks``). The other ways are a choice of neurons (``rules``) and nested grids (``geometric``).
"""
