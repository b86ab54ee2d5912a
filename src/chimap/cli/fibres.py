"""Takes the anisotropy of white matter off a map, or off the local field it is made of, where fibre directions are known.

  chimap fibres --field local.nii.gz --mask mask.nii.gz --v1 dti_V1.nii.gz --v1-frame fsl -o local_isotropic.nii.gz
  chimap fibres --chi chimap.nii.gz --v1 dti_V1.nii.gz --v1-frame fsl --scale dti_FA.nii.gz --delta-chi 0.02 -o chi_mean.nii.gz

One head position shows white matter as its fibres lie to B0: along B0 some 12 ppb above what they are across. From a local field (before
`chimap invert`) the field of the fibres is taken off, which is better; from a finished map their mean shift. The anisotropy is assumed.
"""

from __future__ import annotations

import argparse

import numpy as np

from chimap.cli import _finds, _stage
from chimap.errors import InputError
from chimap.io.directions import FRAMES, read_vectors
from chimap.io.geometry import b0_direction
from chimap.io.nifti import read_header
from chimap.numerics.tensor import tensor_field
from chimap.orientation.tensor_maps import DELTA_CHI_PPM, correct_orientation, cylindrical_tensor

SUMMARY = "anisotropy of white matter taken off a map or a local field, by known fibre directions"
REFERENCES = ("10.1016/j.neuroimage.2012.04.042", "10.1002/mrm.25524")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--field", metavar="NII", help="local field in ppm")
    what.add_argument("--chi", metavar="NII", help="susceptibility in ppm")
    add("--mask", metavar="NII", help="where it is valid (default: where it is not exactly 0)")
    add(
        "--v1",
        required=True,
        metavar="NII",
        help="fibre directions, (x, y, z, 3), on the same grid; 0 where there are none",
    )
    add(
        "--v1-frame", choices=FRAMES, default="voxel",
        help="axes of --v1: voxel axes; those as FSL has them; right, front, up (default: voxel)",
    )  # fmt: skip
    add("--white-matter", metavar="NII", help="mask of what is corrected (default: wherever --v1 is not 0)")
    add(
        "--delta-chi", type=float, default=DELTA_CHI_PPM, metavar="PPM",
        help=f"susceptibility along the fibres less that across (default: {DELTA_CHI_PPM:g})",
    )  # fmt: skip
    add(
        "--scale",
        metavar="NII",
        help="map that --delta-chi is multiplied with, such as fractional anisotropy (then --delta-chi is that of full anisotropy)",
    )
    add("--b0-dir", type=float, nargs=3, metavar=("X", "Y", "Z"), help="B0 along the voxel axes")
    add("-o", "--output", required=True, metavar="NII", help="what was given, corrected, in ppm")
    add("--removed", metavar="NII", help="what was taken off, in ppm")


def run(args: argparse.Namespace) -> int:
    """Read, correct, write; what was assumed goes into the sidecar."""
    _stage.check_output(args.output, args.removed)
    path = args.field or args.chi
    header = read_header(path)
    volume, mask = _finds.map_and_mask(args, path)
    like = (path, volume.shape)
    if not mask.any():
        raise InputError("the map is 0 everywhere", file=path)
    # What is no number lies outside the mask.
    volume = np.where(mask, volume, np.float32(0))
    if not np.isfinite(args.delta_chi) or abs(args.delta_chi) > 0.2:
        raise InputError(
            f"--delta-chi is {args.delta_chi:g} ppm; white matter has some 0.01 to 0.02",
            fix="Give it in ppm, at most 0.2",
        )
    axis = read_vectors(args.v1, volume.shape, args.v1_frame)
    where = mask & (np.linalg.norm(axis, axis=-1) > 1e-6)
    if args.white_matter:
        where &= _stage.read_mask(args.white_matter, like)
    if not where.any():
        raise InputError("there is no fibre direction inside the mask", file=args.v1)
    axis = np.where(where[..., None], axis, np.float32(0))
    delta = np.where(where, np.float32(args.delta_chi), np.float32(0))
    if args.scale:
        delta *= _stage.finite(_stage.read(args.scale, like), where, args.scale)
    b0 = tuple(args.b0_dir) if args.b0_dir else b0_direction(header.affine)
    if args.field:
        removed = tensor_field(cylindrical_tensor(axis, delta), b0, header.zooms_mm)[..., 0] * mask
        out = volume - removed
    else:
        out = correct_orientation(volume, axis, mask, b0, delta_chi_ppm=delta)
        removed = volume - out
    kind = "local field" if args.field else "susceptibility"
    _stage.save(args.output, out, path, f"{kind} without the anisotropy of fibres [ppm]")
    _stage.save(args.removed, removed, path, f"{kind} of the anisotropy of fibres [ppm]")
    spread = float(removed[where].std(dtype=np.float64))
    _stage.note_sidecar(
        args.output,
        {
            "Units": "ppm",
            "B0_dir": [float(v) for v in b0],
            "FibreAnisotropy": {
                "DeltaChiPpm": args.delta_chi,
                "ScaledByMap": bool(args.scale),
                "Voxels": int(where.sum()),
                "RemovedSdPpm": spread,
            },
            "References": [f"doi:{d}" for d in REFERENCES],
        },
    )
    _stage.console_of(args).note(
        f"{int(where.sum())} voxels with fibres; what was taken off the {kind} has an SD of {1000 * spread:.2f} ppb there"
    )
    return 0
