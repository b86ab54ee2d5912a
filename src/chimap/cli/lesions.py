"""Find microbleeds and calcifications in a susceptibility map; score rims of given lesions; split a tumour.

  chimap lesions --chi chimap.nii.gz --mask mask.nii.gz --field local.nii.gz --r2star r2star.nii.gz --b0 3 -o out
  chimap lesions ... --rims flair_lesions.nii.gz --tumour roi.nii.gz -o out

Written into the output folder: lesions.tsv with its data dictionary lesions.json, lesions_dseg.nii.gz (numbers as in
the table), lesions.png; with --rims also rims.tsv and rims.json, with --tumour also tumour.tsv, tumour.json and
tumour_dseg.nii.gz. What needs an input that is not given is left out, and said. No diagnosis: see the page on lesions.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from chimap.cli import _finds, _stage
from chimap.errors import InputError
from chimap.io.nifti import (
    load_volume,
    make_folder,
    read_header,
    save_volume,
    whole_file,
)
from chimap.pipeline.measure import Measure, append_log

SUMMARY = "microbleeds and calcifications: where, which, how much; rims; tumours"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    _finds.add_map(parser)
    add = parser.add_argument
    add("--field", metavar="NII", help="local field in ppm that it was made from: moments without loss")
    add("--noise", metavar="NII", help="standard deviation of the local field in ppm")
    add("--r2star", metavar="NII", help="R2* in 1/s: fainter lesions, and a check")
    add(
        "--magnitude", metavar="NII", help="magnitude (all echoes or combined), a check where there is no R2*"
    )
    _finds.add_labels_and_output(parser, "label image on the same grid, for the nearest region")
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--diameter",
        type=float,
        nargs=2,
        default=(2.0, 12.0),
        metavar=("MIN", "MAX"),
        help="mm (default: 2 12)",
    )
    group.add_argument(
        "--contrast", type=float, default=200.0, metavar="PPB", help="least contrast in ppb (default: 200)"
    )
    group = parser.add_argument_group("other lesions")
    group.add_argument(
        "--rims", metavar="NII", help="masks or labels of MS lesions, to score paramagnetic rims"
    )
    group.add_argument("--tumour", metavar="NII", help="region to split into haemorrhage and calcification")
    group.add_argument(
        "--tumour-contrast",
        type=float,
        default=150.0,
        metavar="PPB",
        help="least contrast in it (default: 150)",
    )
    _stage.add_acquisition(parser, te=False)


def run(args: argparse.Namespace) -> int:
    """Read, find, write."""
    from chimap.pipeline.lesions import METHOD, about, columns_of, facts_of, row, write_table
    from chimap.quantify.lesions import find_lesions

    folder = _finds.output_folder(args)
    console = _stage.console_of(args)
    if args.r2star and args.acq is None and args.b0 is None:
        raise InputError("the check of R2* depends on the field strength", fix="Give --b0 or --acq")
    chi, mask = _finds.map_and_mask(args)
    like = (args.chi, chi.shape)
    acq = _stage.acquisition(args, args.chi, needs_te=False)
    affine = read_header(args.chi).affine
    maps: dict[str, Any] = {}
    for name, path in (("local_field", args.field), ("noise", args.noise), ("r2star", args.r2star)):
        if path:
            maps[name] = _stage.finite(_stage.read(path, like), mask, path)
    if args.magnitude:
        maps["magnitude"] = _stage.finite(_magnitude(args.magnitude, like), mask, args.magnitude)
    regions, names = _finds.labels_and_names(args, like)
    rims = _stage.read(args.rims, like) if args.rims else None
    roi = _stage.read_mask(args.tumour, like) if args.tumour else None
    make_folder(folder)
    with console.stage("lesions", METHOD) as bar:
        with Measure(bar) as measure:
            result = find_lesions(
                chi, mask, acq, **maps, regions=regions, names=names, affine=affine,
                diameter_mm=(args.diameter[0], args.diameter[1]), contrast_ppm=args.contrast / 1000,
                progress=measure.progress,
            )  # fmt: skip
        record = measure.record("lesions", METHOD)
    record["parameters"] = {"diameter_mm": list(args.diameter), "contrast_ppb": args.contrast}
    append_log(args.log_json, record)
    for text in result.left_out:
        console.note(text)
    rows = [row(lesion) for lesion in result.found]
    write_table(folder / "lesions.tsv", rows, columns_of(rows), facts_of({**record, **about(result)}))
    save_volume(folder / "lesions_dseg.nii.gz", result.labels, affine, description="chimap lesions")
    if args.figure != "none":
        from chimap.report.lesions import lesion_figure

        kinds = {lesion.number: lesion.kind for lesion in result.found}
        picture = lesion_figure(chi, result.labels, kinds, affine, mask=mask, kind=args.figure)
        with whole_file(folder / f"lesions.{args.figure}") as f:
            f.write(picture)
    count = Counter(lesion.kind for lesion in result.found)
    said = ", ".join(f"{n} {kind}" for kind, n in count.items()) or "none"
    print(f"lesions: {said} (rejected {len(result.rejected)} other spots): {folder / 'lesions.tsv'}")
    if rims is not None:
        _rims(folder, chi, rims, mask, acq)
    if roi is not None:
        _tumour(folder, chi, roi, mask, acq, maps, affine, args.tumour_contrast / 1000)
    return 0


def _magnitude(path: str, like: tuple[str, tuple[int, ...]]) -> np.ndarray:
    data, _ = load_volume(path)
    if data.shape[:3] != tuple(like[1]):
        raise InputError(f"the shape {data.shape[:3]} is not that of {like[0]}, {tuple(like[1])}", file=path)
    if data.ndim == 4:
        # The last echo shows lost signal best; all of them together still do, with less noise.
        return np.sqrt((np.moveaxis(data, 3, 0).astype(np.float64) ** 2).sum(axis=0)).astype(np.float32)
    return data


def _rims(folder: Path, chi: np.ndarray, lesions: np.ndarray, mask: np.ndarray, acq: Any) -> None:
    from chimap.pipeline.lesions import write_table
    from chimap.quantify.rim import score_rims

    rows = [
        {
            "label": r.label,
            "volume": round(r.volume_mm3, 1),
            "coverage": round(r.coverage, 3),
            "rim_core": round(1000 * r.rim_core_ppm, 1),
            "rim_outside": round(1000 * r.rim_outside_ppm, 1),
            "rim_at": round(r.radius_mm, 2),
            "rim": "yes" if r.rim else "n/a" if r.note else "no",
            "note": r.note,
        }
        for r in score_rims(chi, lesions, mask, acq)
    ]
    columns = {
        "label": ("", "Number of the lesion (connected parts of a mask are counted)"),
        "volume": ("mm^3", "Volume of the lesion mask"),
        "coverage": (
            "",
            "Part of the directions in which the edge is more paramagnetic than core and surroundings",
        ),
        "rim_core": ("ppb", "Mean of the shell less the core's median"),
        "rim_outside": ("ppb", "Mean of the shell less the surroundings' median"),
        "rim_at": ("mm", "Where the shell lies, from the mask's surface, outside positive"),
        "rim": (
            "",
            "yes: coverage of two thirds or more (after doi:10.1093/brain/awae013). A score, no diagnosis",
        ),
        "note": ("", "Why there is no score"),
    }
    write_table(folder / "rims.tsv", rows, columns, {})
    print(f"rims: {sum(r['rim'] == 'yes' for r in rows)} of {len(rows)} lesions: {folder / 'rims.tsv'}")


def _tumour(
    folder: Path,
    chi: np.ndarray,
    roi: np.ndarray,
    mask: np.ndarray,
    acq: Any,
    maps: dict[str, Any],
    affine: np.ndarray,
    contrast_ppm: float,
) -> None:
    from chimap.pipeline.lesions import write_table
    from chimap.quantify.tumour import split

    s = split(
        chi, roi, mask, acq, local_field=maps.get("local_field"), noise=maps.get("noise"), contrast_ppm=contrast_ppm
    )  # fmt: skip
    rows = [
        {
            "kind": p.kind,
            "volume": round(p.volume_mm3, 1),
            "share": round(p.share, 4),
            "parts": p.parts,
            "mean": round(1000 * p.mean_ppm, 1),
            "extreme": round(1000 * p.extreme_ppm, 1),
            "moment": round(1000 * p.moment, 0),
            "moment_error": round(1000 * p.moment_error, 0),
            "moment_from": p.moment_from,
        }
        for p in (s.haemorrhage, s.calcification)
    ]
    columns = {
        "kind": ("", "haemorrhage: 1 in the label image, calcification: 2"),
        "volume": ("mm^3", "Volume beyond the contrast"),
        "share": ("", "Its part of the region's volume"),
        "parts": ("", "Connected parts"),
        "mean": ("ppb", "Mean against the median of the tissue around the region"),
        "extreme": ("ppb", "Voxel farthest from it"),
        "moment": ("ppb mm^3", "Integral of susceptibility against the surroundings, sum over the parts"),
        "moment_error": ("ppb mm^3", "Its standard error, those of the parts added"),
        "moment_from": ("", "local field, or susceptibility"),
    }
    facts = {
        "RegionVolume_mm3": s.volume_mm3,
        "Background_ppb": 1000 * s.background_ppm,
        "Contrast_ppb": 1000 * contrast_ppm,
    }
    write_table(folder / "tumour.tsv", rows, columns, facts)
    save_volume(folder / "tumour_dseg.nii.gz", s.labels, affine, description="chimap tumour")
    print(
        f"tumour: haemorrhage {s.haemorrhage.volume_mm3:.0f} mm3, calcification {s.calcification.volume_mm3:.0f} mm3: "
        f"{folder / 'tumour.tsv'}"
    )
