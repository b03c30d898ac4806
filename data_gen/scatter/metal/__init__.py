"""Photons that the collimator sends on: a random walk through metal around each aperture, by fixed draws.

Where metal is: :mod:`eye`, :mod:`path`. What it does: :mod:`physics`, :mod:`arrivals`. How photons run and
where they stop: :mod:`rays`, :mod:`walk`, :mod:`lines`, :mod:`stops`. What blocks of pixels see of that:
:mod:`compton`, :mod:`k_photons`, along :mod:`ways` into the :mod:`crystal`. One aperture: :mod:`matrix`,
a whole camera: :mod:`kept`. What the object scattered before: :mod:`scattered_before`, :mod:`seen_again`.
"""
