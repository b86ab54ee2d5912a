"""A susceptibility tensor in pictures: mean, anisotropy and principal direction in three planes."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chimap.report.orient import Orientation, bounding_box, centre_index
from chimap.report.saved import file_bytes

_VIEWS = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))


def tensor_figure(
    mean_ppm: np.ndarray,
    anisotropy_ppm: np.ndarray,
    colours: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray,
    *,
    mean_window_ppm: float = 0.1,
    window_ppm: float = 0.03,
    kind: str = "png",
) -> bytes:
    """The maps of a tensor in three planes through the middle of the mask.

    Parameters
    ----------
    mean_ppm, anisotropy_ppm : (x, y, z)
        In ppm.
    colours : (x, y, z, 3) uint8
        From `direction_colours`.
    affine : (4, 4)
        Voxel index to mm.
    mask : (x, y, z) bool
        The brain.
    mean_window_ppm, window_ppm : float
        Mean susceptibility is grey from minus to plus the first, anisotropy from 0 to the second.
    kind : {"png", "svg"}

    Returns
    -------
    bytes
        The file; in the axial and coronal view the patient's left is on the right.
    """
    orientation = Orientation.of(affine, mask.shape)
    turned = orientation.turn(mask)
    box = bounding_box(turned, (2, 2, 2)) or tuple(slice(0, n) for n in turned.shape)
    at = centre_index(turned)
    step = orientation.voxel_mm
    rgb = np.stack([orientation.turn(colours[..., c]) for c in range(3)], axis=-1)
    rows = (
        (f"mean, -{1000 * mean_window_ppm:.0f} to {1000 * mean_window_ppm:.0f} ppb", orientation.turn(mean_ppm * mask), mean_window_ppm),
        (f"anisotropy, 0 to {1000 * window_ppm:.0f} ppb", orientation.turn(anisotropy_ppm * mask), window_ppm),
        ("red right-left, green front-back, blue up", rgb, 0.0),
    )  # fmt: skip
    figure = Figure(figsize=(11, 10.5), dpi=90, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 3)
    for line, (title, volume, window) in zip(panels, rows, strict=True):
        for panel, (view, away, across, up) in zip(line, _VIEWS, strict=True):
            plane = np.take(volume, at[away], axis=away)[box[across], box[up]].swapaxes(0, 1)[::-1]
            if across == 0:
                plane = plane[:, ::-1]
            low = 0.0 if window != mean_window_ppm else -window
            shown = {} if volume.ndim == 4 else {"cmap": "gray", "vmin": low, "vmax": window}
            panel.imshow(plane, aspect=step[up] / step[across], interpolation="nearest", **shown)
            panel.set_axis_off()
            panel.set_title(f"{view}: {title}" if panel is line[0] else view, color="#d0d0d0", fontsize=9)
    return file_bytes(figure, kind, facecolor="black")
