"""The paper's section 3 as functions on tensors, independent of models, files and judges.

Eqs. 1 to 3 are in :mod:`~prosafeprune.method.overlap_operator`, Theorem 3.1 in :mod:`~prosafeprune.method.subspaces`,
Eq. 4 in :mod:`~prosafeprune.method.separability`, Theorem 3.2 in :mod:`~prosafeprune.method.energy`; our refinement of
the operator is in :mod:`~prosafeprune.method.fitted_projection`.
"""
