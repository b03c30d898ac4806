"""The matrix of the rate equations (1/s), from a compartment model and a decay chain (docs/physics.md,
section 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.kinetics.compartments import CompartmentModel, Rates
from data_gen.nuclides import DecayChain

FORMS = ("bound", "free")
"""On the carrier, or released from it."""

_HOUR_S = 3600.0


def rate_matrix(model: CompartmentModel, chain: DecayChain) -> Tensor:
    """M of dN/dt = M N for atoms N [form, region, member] taken as one axis, [state, state] in 1/s, float64.

    Raises:
        UserError: the model names a member that the chain does not hold.
    """
    for key, table in (("free_per_h", model.free_per_h), ("released", model.released)):
        for member in table:
            if member not in chain.members:
                raise UserError(f"kinetics.{key} names {member!r}; the chain holds {list(chain.members)}")
    regions, members = len(model.regions), len(chain.members)
    matrix = torch.zeros(2, regions, members, 2, regions, members, dtype=torch.float64)
    for index, member in enumerate(chain.members):
        matrix[0, :, index, 0, :, index] = _transfer(model, model.carrier_per_h)
        matrix[1, :, index, 1, :, index] = _transfer(model, model.free_per_h.get(member, {}))
    decay = _decay(model, chain)
    for region in range(regions):
        matrix[:, region, :, :, region, :] += decay
    size = 2 * regions * members
    return matrix.reshape(size, size)


def _transfer(model: CompartmentModel, rates: Rates) -> Tensor:
    """Exchange between regions, [to, from] in 1/s; columns sum to 0."""
    matrix = torch.zeros(len(model.regions), len(model.regions), dtype=torch.float64)
    for source, targets in rates.items():
        for target, rate in targets.items():
            matrix[model.regions.index(target), model.regions.index(source)] += rate / _HOUR_S
    return matrix - torch.diag(matrix.sum(0))


def _decay(model: CompartmentModel, chain: DecayChain) -> Tensor:
    """Decay and birth in one region, [form, member, form, member] (to, from) in 1/s."""
    members = len(chain.members)
    matrix = torch.zeros(2, members, 2, members, dtype=torch.float64)
    for j, parent in enumerate(chain.members):
        constant = chain.decay_constant(parent)
        matrix[0, j, 0, j] = matrix[1, j, 1, j] = -constant
        for i, child in enumerate(chain.members):
            born = chain.branching(parent, child) * constant
            if born == 0:
                continue
            share = model.released.get(child, 0.0)
            matrix[0, i, 0, j] += (1 - share) * born
            matrix[1, i, 0, j] += share * born
            matrix[1, i, 1, j] += born
    return matrix
