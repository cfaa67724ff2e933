"""Subspaces fixed beforehand: linear maps from k coordinates to weights, a -> base + V a.

Three kinds, one protocol (:class:`Subspace`): spans of directions that a file holds, random directions that a seed
stands for, and r x r cores between frozen factors of each weight matrix. A checkpoint made inside a subspace
carries its coordinates; membership is checked by computing its weights again and comparing bits (theory, 3.7).
"""

from certify.noise.subspace.cores import Cores, random_factors, save_cores, svd_factors
from certify.noise.subspace.map import Subspace
from certify.noise.subspace.membership import displacement_in, save_member
from certify.noise.subspace.opening import open_subspace
from certify.noise.subspace.seeded import SeededDirections, save_seeded
from certify.noise.subspace.stored import StoredDirections, orthonormal, save_basis, task_vectors

__all__ = [
    "Cores",
    "SeededDirections",
    "StoredDirections",
    "Subspace",
    "displacement_in",
    "open_subspace",
    "orthonormal",
    "random_factors",
    "save_basis",
    "save_cores",
    "save_member",
    "save_seeded",
    "svd_factors",
    "task_vectors",
]
