"""Activity (Bq) and decays of every chain member in every region of a compartment model, over time in s."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.kinetics.compartments import CompartmentModel
from data_gen.kinetics.rates import FORMS, rate_matrix
from data_gen.nuclides import DecayChain
from data_gen.nuclides.rate_equations import propagators, total_integral


class RegionKinetics:
    """The course of one injection: uptake, clearance, decay, and daughters that leave the carrier.

    Atoms N [form, region, member] follow dN/dt = M N, solved exactly. Times are seconds after injection,
    activities Bq, everything float64. Regions hold what is bound and what is free together.

    Args:
        model: regions and rates.
        chain: decay chain of the injected nuclide.
        injected_bq: member to Bq on the carrier; a number is the first member's alone.
        free_bq: member to Bq that is free from the start, such as daughters in the vial.

    Raises:
        UserError: an unknown member, or an activity that is negative or no number.
    """

    def __init__(
        self,
        model: CompartmentModel,
        chain: DecayChain,
        injected_bq: Mapping[str, float] | float,
        free_bq: Mapping[str, float] | None = None,
    ) -> None:
        self.model, self.chain = model, chain
        self._matrix = rate_matrix(model, chain)
        self._constants = torch.tensor([chain.decay_constant(m) for m in chain.members], dtype=torch.float64)
        self._shape = (len(FORMS), len(model.regions), len(chain.members))
        bound = injected_bq if isinstance(injected_bq, Mapping) else {chain.members[0]: injected_bq}
        place = model.regions.index(model.injected_into)
        start = torch.zeros(self._shape, dtype=torch.float64)
        start[0, place] = self._atoms("injected_bq", bound)
        start[1, place] = self._atoms("free_bq", free_bq or {})
        self._start = start.flatten()

    def atoms(self, time_s: float) -> Tensor:
        """Atoms of each form, region and member, [form, region, member]; forms are bound and free."""
        return self._state(time_s).reshape(self._shape)

    def activity(self, times_s: Sequence[float]) -> Tensor:
        """Activity at each time, [time, region, member] in Bq."""
        return torch.stack([self._constants * self.atoms(time).sum(0) for time in times_s])

    def frame_means(self, frames: Sequence[Frame]) -> Tensor:
        """Mean activity over each frame, [frame, region, member] in Bq."""
        return torch.stack([self.decays(f.start_s, f.end_s) / f.duration_s for f in frames])

    def decays(self, start_s: float = 0.0, end_s: float = math.inf) -> Tensor:
        """Decays from one time to another or for good, [region, member]: the truth of dosimetry.

        Raises:
            UserError: the end is not after the start, or the start is negative.
        """
        if not 0 <= start_s < end_s:
            raise UserError(
                f"decays run from {start_s} s to {end_s} s; they need a start of 0 or later, before the end"
            )
        state = self._state(start_s)
        constants = self._constants.expand(self._shape).flatten()
        if math.isinf(end_s):
            decays = total_integral(self._matrix, state, constants)
        else:
            decays = constants * (propagators(self._matrix, end_s - start_s)[1] @ state)
        return decays.clamp_min(0.0).reshape(self._shape).sum(0)

    def _state(self, time_s: float) -> Tensor:
        """Atoms at a time, [state]."""
        if not 0 <= time_s < math.inf:
            raise UserError(f"time is {time_s} s after injection; it needs to be finite and 0 or later")
        if time_s == 0:
            return self._start
        # What has decayed away is 0, up to the rounding of what it was.
        return (self._start + propagators(self._matrix, time_s)[0] @ self._start).clamp_min(0.0)

    def _atoms(self, key: str, activity_bq: Mapping[str, float]) -> Tensor:
        """Atoms of each member, [member]."""
        atoms = torch.zeros(len(self.chain.members), dtype=torch.float64)
        for member, activity in activity_bq.items():
            if member not in self.chain.members:
                raise UserError(f"{key} names {member!r}; the chain holds {list(self.chain.members)}")
            if not 0 <= activity < math.inf:
                raise UserError(
                    f"{key} of {member} is {activity}; it needs a finite activity of 0 Bq or more"
                )
            atoms[self.chain.members.index(member)] = activity / self.chain.decay_constant(member)
        return atoms
