"""EM iterations and networks in turn: an unrolled reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from data_gen.core.errors import UserError
from hspi_learn.networks.generator import CorrectionUNet

MOST_STAGES = 32
"""Most networks; chosen, no source."""


EmIteration = Callable[[Tensor], Tensor]
"""From an image to the image after EM, both [batch, map, z, y, x]."""


class Stage(Protocol):
    """What makes the network of a stage."""

    def __call__(self, maps: int, *, further_images: int) -> nn.Module:
        """A network that corrects an image of so many maps and sees so many further images of each.

        It is called with the image [batch, map, z, y, x], the density [batch, 1, z, y, x] in g/cm3, and
        the further images, each like the first.
        """


class UnrolledEm(nn.Module):
    """A network that corrects the physics image, then stages of an EM iteration and a network each.

        x_0 = network_0( physics image, density )
        x_k = network_k( x_{k-1}, density, EM(x_{k-1}) )        k = 1 ... stages - 1

    EM compares each image with the counts once more. The network sees the image before and after, and so
    what the counts have to say against it; it is left to the network how much of that is noise. With the last
    layers of :class:`~hspi_learn.networks.CorrectionUNet` at zero, a stage that is not yet trained hands on
    the image of the stage before. Sources: Mehranian and Reader, IEEE Trans. Radiat. Plasma Med. Sci. 5
    (2021) 54 (FBSEM); Li et al., arXiv:2301.09710.

    Args:
        maps: activity maps.
        stages: networks, the first one included.
        stage: makes the network of a stage.

    Raises:
        UserError: there is no stage, or there are too many.
    """

    def __init__(self, maps: int, stages: int = 2, stage: Stage = CorrectionUNet) -> None:
        super().__init__()
        if not 1 <= stages <= MOST_STAGES:
            raise UserError(f"generator.stages is {stages}; it needs to be from 1 to {MOST_STAGES}")
        self.stages = nn.ModuleList(stage(maps, further_images=min(number, 1)) for number in range(stages))

    def forward(self, initial: Tensor, density: Tensor, body: Tensor, em_iteration: EmIteration) -> Tensor:
        """Better maps [batch, map, z, y, x] from the physics image, 0 outside the body.

        Args:
            initial: physics image [batch, map, z, y, x], in a unit of each map.
            density: [batch, 1, z, y, x] in g/cm3.
            body: voxels that may hold activity [batch, 1, z, y, x], bool.
            em_iteration: an image after EM by the scans' counts, both in those units.
        """
        image = initial
        for number in range(len(self.stages)):
            image = self.stage(number, image, density, body, em_iteration)
        return image

    def stage(
        self,
        number: int,
        image: Tensor,
        density: Tensor,
        body: Tensor,
        em_iteration: EmIteration | None = None,
    ) -> Tensor:
        """The image after a stage from that of the stage before, or from the physics image for stage 0.

        Stage 0 needs no EM.
        """
        further = (em_iteration(image),) if number and em_iteration is not None else ()
        after: Tensor = body * self.stages[number](image, density, *further)
        return after
