"""Images of the regions of an anatomy: expected counts a second for 1 Bq/mL in each region and map.

Expected counts are linear in activity at fixed density, so that those of any individual on the anatomy are a
sum of these images, which takes milliseconds where a projection takes tenths of a second. Stored in half
precision, relative to the highest value of each image: within 0.05 % of every pixel that matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import Anatomy, Region

PARTS_AT_ONCE = 16
"""Regions projected together: as many as a sparse product handles best."""


@dataclass(frozen=True)
class RegionImages:
    """An anatomy and the images of its regions.

    Args:
        anatomy: the body.
        relative: counts of each pixel and window over ``highest``, [map, region, pixel, window] float16.
        highest: highest counts a second for 1 Bq/mL, [map, region] float32.
        recorded: counts a second for 1 Bq/mL over all pixels and all energies that are recorded, in
            the windows or not, [map, region] float32.
    """

    anatomy: Anatomy
    relative: Tensor
    highest: Tensor
    recorded: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, anatomy: Anatomy, model: HyperspectralForwardModel, recorded: HyperspectralForwardModel
    ) -> RegionImages:
        """The images of an anatomy.

        Args:
            anatomy: the body.
            model: records the energy windows.
            recorded: the same model recording all energies, in bins as coarse as one likes.
        """
        state = model.attenuation(anatomy.density[None])
        volumes = anatomy.volume_ml.to(anatomy.density)
        images = []
        for m in range(len(model.groups.names)):
            parts = [
                model.project_parts(some, [m] * len(some), state) for some in volumes.split(PARTS_AT_ONCE)
            ]
            images.append(torch.cat(parts).float())
        counts = torch.stack(images)
        highest = counts.amax(dim=(2, 3))
        relative = counts / highest.clamp_min(torch.finfo(highest.dtype).tiny)[..., None, None]
        sensitivity = recorded.sensitivity(state)[0]
        whole = torch.einsum("mzyx,rzyx->mr", sensitivity.double(), volumes.double()).float()
        return cls(anatomy, relative.half(), highest, whole)

    def rate(self, concentrations: Tensor) -> Tensor:
        """Counts a second [pixel, window] of activity in Bq/mL, [map, region], without background."""
        weight = (concentrations.float() * self.highest).flatten()
        relative = self.relative.flatten(0, 1)
        present = weight > 0
        rate = weight[present] @ relative[present].float().flatten(1)
        return rate.reshape(relative.shape[1:])

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a file."""
        return {
            "relative": self.relative,
            "highest": self.highest,
            "recorded": self.recorded,
            "density": self.anatomy.density,
            "filling": self.anatomy.filling,
            "regions": torch.tensor(self.anatomy.regions, dtype=torch.int64),
            "numbers": torch.tensor(
                [self.anatomy.fine_voxels, self.anatomy.voxel_ml, self.anatomy.body_mass_g],
                dtype=torch.float64,
            ),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> RegionImages:
        """What :meth:`tensors` gave."""
        regions = tuple(
            Region(organ, bool(core), site, bool(site_core))
            for organ, core, site, site_core in tensors["regions"].tolist()
        )
        fine_voxels, voxel_ml, body_mass_g = tensors["numbers"].tolist()
        filling = tensors["filling"]
        anatomy = Anatomy(tensors["density"], filling, int(fine_voxels), voxel_ml, regions, body_mass_g)
        return cls(anatomy, tensors["relative"], tensors["highest"], tensors["recorded"])
