"""DLCR: clothes-changing person re-identification with inpainted outfits."""

__version__ = "1.0.0"
