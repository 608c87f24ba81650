"""Mixtures of Gaussians over the errors of coarse predictions, and masks made of them.

In stage two of Confidence-Aware Learning the offset branch is trained where the
heatmap branch really points. In each mini-batch the displacements between coarse
predictions and joints (equation 11) are fitted with a Gaussian mixture
(equation 12), which is then drawn around every joint as a mask (equation 13):

>>> import torch
>>> heatmaps, joints = torch.rand(2, 17, 32, 24), torch.rand(2, 17, 2) * 20  # heatmap pixels
>>> errors, weights = displacements(heatmaps, joints, visible=torch.ones(2, 17))
>>> mixture = fit(errors, n_components=2, weights=weights)
>>> masks = mixed_gaussian_masks(mixture, joints, (32, 24))
>>> masks.shape, float(masks.amax((-1, -2)).min())
(torch.Size([2, 17, 32, 24]), 1.0)
"""

from calbook.gmm.em import choose, fit
from calbook.gmm.masks import default_components, displacements, grid_mask, mixed_gaussian_masks
from calbook.gmm.mixture import Mixture, aic, bic, log_density

__all__ = [
    "Mixture",
    "aic",
    "bic",
    "choose",
    "default_components",
    "displacements",
    "fit",
    "grid_mask",
    "log_density",
    "mixed_gaussian_masks",
]
