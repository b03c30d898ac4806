"""Robust deep learning for hyperspectral single photon imaging of targeted alpha therapy."""

__version__ = "0.1.0"
