"""DLCR: clothes-changing person re-identification with inpainted outfits."""

__version__ = "0.1.0"
