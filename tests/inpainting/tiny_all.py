"""Every family's tiny pipeline, by the name of its module."""

from tiny_edit import qwen_image_edit, save_qwen_image_edit
from tiny_families import (
    Tiny,
    flux2_klein,
    flux_fill,
    qwen_image,
    save_flux2_klein,
    save_flux_fill,
    save_qwen_image,
    save_sdxl,
    save_stable_diffusion_3,
    sdxl,
    stable_diffusion_3,
)
from tiny_kandinsky import kandinsky, save_kandinsky
from tiny_kontext import flux_kontext, save_flux_kontext

TINY = {
    "flux2_klein": Tiny(save_flux2_klein, flux2_klein, guidance=4.0),
    "flux_fill": Tiny(save_flux_fill, flux_fill, guidance=30.0),
    "flux_kontext": Tiny(save_flux_kontext, flux_kontext, guidance=3.5),
    "kandinsky": Tiny(save_kandinsky, kandinsky, guidance=3.0, beside=("prior",)),
    "qwen_image": Tiny(save_qwen_image, qwen_image, guidance=4.0),
    "qwen_image_edit": Tiny(save_qwen_image_edit, qwen_image_edit, guidance=4.0),
    "stable_diffusion_3": Tiny(save_stable_diffusion_3, stable_diffusion_3, guidance=5.0),
    "sdxl": Tiny(save_sdxl, sdxl, guidance=3.0),
}
