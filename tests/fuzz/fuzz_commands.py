"""The commands that the fuzzing runs, in three sets: reconstruction from files, answers from maps, and DICOM."""

from __future__ import annotations

Command = tuple[float, list[str], list[str]]
"""Share of the cases; arguments ({i} the input, {f} its flat files, {o} the output); names of the files that may be spoiled."""

FLAT = ["phase", "magnitude", "mask", "params"]
FILES: dict[str, Command] = {
    "check": (0.36, ["check", "{i}/bids"], ["bids"]),
    "check json": (0.05, ["check", "{i}/bids", "--json", "--quick"], ["bids"]),
    "check files": (
        0.08,
        ["check", "--phase", "{f}/phase.nii.gz", "--magnitude", "{f}/magnitude.nii.gz", "--mask", "{f}/mask.nii.gz",
         "--te", "0.004", "0.012", "0.02", "--b0", "3"],
        FLAT[:3],
    ),
    "run": (0.10, ["run", "{i}/bids", "{o}", "--preset", "fast", "--quiet"], ["bids"]),
    "run labels": (
        0.03,
        ["run", "{i}/bids", "{o}", "--preset", "fast", "--labels", "{f}/labels.nii.gz", "--mask", "{f}/mask.nii.gz"],
        ["labels", "mask"],
    ),
    "resume": (0.02, ["run", "{i}/bids", "{o}", "--preset", "fast", "--quiet"], []),
    "mask": (0.04, ["mask", "--magnitude", "{f}/magnitude.nii.gz", "--acq", "{f}/params.json", "-o", "{o}/a.nii.gz"],
             ["magnitude", "params"]),
    "unwrap": (
        0.04,
        ["unwrap", "--phase", "{f}/phase.nii.gz", "--mask", "{f}/mask.nii.gz", "--acq", "{f}/params.json", "-o",
         "{o}/a.nii.gz"],
        ["phase", "mask", "params"],
    ),
    "field": (
        0.04,
        ["field", "--phase", "{f}/phase.nii.gz", "--magnitude", "{f}/magnitude.nii.gz", "--mask", "{f}/mask.nii.gz",
         "--acq", "{f}/params.json", "-o", "{o}/a.nii.gz", "--noise-out", "{o}/b.nii.gz"],
        FLAT,
    ),
    "background": (
        0.04,
        ["background", "--method", "vsharp", "--field", "{f}/field.nii.gz", "--mask", "{f}/mask.nii.gz", "--acq",
         "{f}/params.json", "-o", "{o}/a.nii.gz", "--mask-out", "{o}/b.nii.gz"],
        ["field", "mask", "params"],
    ),
    "invert": (
        0.04,
        ["invert", "--method", "tkd", "--field", "{f}/field.nii.gz", "--mask", "{f}/mask.nii.gz", "--noise",
         "{f}/noise.nii.gz", "--acq", "{f}/params.json", "-o", "{o}/a.nii.gz"],
        ["field", "mask", "noise", "params"],
    ),
    "r2star": (0.03, ["r2star", "--magnitude", "{f}/magnitude.nii.gz", "--mask", "{f}/mask.nii.gz", "--acq",
                      "{f}/params.json", "-o", "{o}/a.nii.gz"], ["magnitude", "mask", "params"]),
    "reference": (0.03, ["reference", "--chi", "{f}/chi.nii.gz", "--mask", "{f}/mask.nii.gz", "-o", "{o}/a.nii.gz"],
                  ["chi", "mask"]),
    "regions": (
        0.08,
        ["regions", "--chi", "{f}/chi.nii.gz", "--labels", "{f}/labels.nii.gz", "--transform", "{f}/affine.txt",
         "-o", "{o}/a.tsv"],
        ["chi", "labels", "affine"],
    ),
    "score": (0.02, ["score", "--recon", "{f}/chi.nii.gz", "--truth", "{f}/field.nii.gz", "--mask", "{f}/mask.nii.gz"],
              ["chi", "field", "mask"]),
}  # fmt: skip

_SPLIT = ["--paramagnetic-out", "{o}/a.nii.gz", "--diamagnetic-out", "{o}/b.nii.gz"]
_FIND = [
    "--chi",
    "{f}/chi.nii.gz",
    "--mask",
    "{f}/mask.nii.gz",
    "--field",
    "{f}/field.nii.gz",
    "--r2star",
    "{f}/r2star.nii.gz",
]
ANSWERS: dict[str, Command] = {
    "calibrate fit": (
        0.10,
        ["calibrate", "fit", "{o}/fit", "--chi", "{f}/chi.nii.gz", "{f}/again.nii.gz", "--magnitude", "{f}/first.nii.gz",
         "--labels", "{f}/labels.nii.gz", "--vials", "{f}/vials.tsv", "--molar", "0.3", "--erode", "0", "--b0", "3", "--angle", "0"],
        ["chi", "again", "first", "labels", "vials", "vials", "vials"],
    ),
    "calibrate apply": (
        0.08,
        ["calibrate", "apply", "{o}/a.nii.gz", "--chi", "{f}/chi.nii.gz", "--mask", "{f}/mask.nii.gz", "--calibration",
         "{f}/correction.json"],
        ["chi", "mask", "correction", "correction", "correction"],
    ),
    "calibrate retest": (0.05, ["calibrate", "retest", "{o}/retest", "--table", "{f}/retest.tsv"], ["retest"]),
    "retest maps": (
        0.05,
        ["calibrate", "retest", "{o}/retest", "--chi", "{f}/chi.nii.gz", "{f}/again.nii.gz", "--labels", "{f}/labels.nii.gz"],
        ["chi", "again", "labels"],
    ),
    "correlate": (
        0.08,
        ["correlate", "{o}/table", "--maps", "chi={f}/chi.nii.gz", "r2star={f}/r2star.nii.gz", "other={f}/again.nii.gz", "--mask",
         "{f}/mask.nii.gz", "--labels", "{f}/labels.nii.gz", "--window", "8"],
        ["chi", "r2star", "again", "mask", "labels"],
    ),
    "swi": (
        0.05,
        ["swi", "--magnitude", "{f}/magnitude.nii.gz", "--phase", "{f}/phase.nii.gz", "--acq", "{f}/params.json", "-o",
         "{o}/a.nii.gz", "--projection", "{o}/b.nii.gz"],
        ["magnitude", "phase", "params"],
    ),
    "clear-swi": (
        0.04,
        ["swi", "--method", "clear-swi", "--magnitude", "{f}/magnitude.nii.gz", "--phase", "{f}/phase.nii.gz", "--mask",
         "{f}/mask.nii.gz", "--acq", "{f}/params.json", "-o", "{o}/a.nii.gz"],
        ["magnitude", "phase", "mask", "params"],
    ),
    "smwi": (0.03, ["swi", "--method", "smwi", "--magnitude", "{f}/magnitude.nii.gz", "--chi", "{f}/chi.nii.gz", "-o",
                    "{o}/a.nii.gz"], ["magnitude", "chi"]),
    "lesions": (
        0.09,
        ["lesions", *_FIND, "--labels", "{f}/labels.nii.gz", "--rims", "{f}/lesion.nii.gz", "--tumour", "{f}/lesion.nii.gz", "--acq",
         "{f}/params.json", "-o", "{o}/found"],
        ["chi", "mask", "field", "r2star", "labels", "lesion", "params"],
    ),
    "oxygen": (
        0.09,
        ["oxygen", *_FIND, "--noise", "{f}/noise.nii.gz", "--cbf", "{f}/cbf.nii.gz", "--labels", "{f}/labels.nii.gz", "--acq",
         "{f}/params.json", "-o", "{o}/found"],
        ["chi", "mask", "field", "r2star", "noise", "cbf", "labels", "params"],
    ),
    "separate": (
        0.07,
        ["separate", "--field", "{f}/field.nii.gz", "--r2star", "{f}/r2star.nii.gz", "--r2map", "{f}/r2.nii.gz", "--mask",
         "{f}/mask.nii.gz", "--magnitude", "{f}/magnitude.nii.gz", "--acq", "{f}/params.json", *_SPLIT],
        ["field", "r2star", "r2", "mask", "magnitude", "params"],
    ),
    "decompose": (
        0.03,
        ["separate", "--method", "decompose", "--chi", "{f}/chi.nii.gz", "--mask", "{f}/mask.nii.gz", "--magnitude",
         "{f}/magnitude.nii.gz", "--acq", "{f}/params.json", *_SPLIT],
        ["chi", "mask", "magnitude", "params"],
    ),
    "iron": (
        0.05,
        ["iron", "--chi", "{f}/chi.nii.gz", "--labels", "{f}/labels.nii.gz", "--mask", "{f}/mask.nii.gz", "--age", "40", "-o",
         "{o}/a.tsv", "--figure-out", "{o}/b.svg"],
        ["chi", "labels", "mask"],
    ),
    "iron model": (
        0.05,
        ["iron", "--chi", "{f}/chi.nii.gz", "--r2star", "{f}/r2star.nii.gz", "--mask", "{f}/mask.nii.gz", "--model", "{f}/model.json",
         "--iron-out", "{o}/a.nii.gz", "--myelin-out", "{o}/b.nii.gz"],
        ["chi", "r2star", "mask", "model", "model", "model"],
    ),
    "group": (0.09, ["group", "{i}/results", "--participants", "{f}/participants.tsv"], ["participants"] * 30 + ["results"]),
    "run group": (0.05, ["run", "{i}/people", "{i}/results", "group"], ["participants"] * 30 + ["results", "dataset_description"]),
    "view": (0.06, ["view", "{i}/results"], ["results"]),
}  # fmt: skip

DICOM: dict[str, Command] = {
    "bids siemens": (0.25, ["bids", "{i}/siemens", "{o}/bids"], ["siemens"]),
    "bids enhanced": (0.25, ["bids", "{i}/enhanced", "{o}/bids"], ["enhanced"]),
    "bids mixed": (0.10, ["bids", "{i}/mixed", "{o}/bids"], ["mixed"]),
    "bids philips": (0.15, ["bids", "{i}/philips", "{o}/bids"], ["philips"]),
    "bids ge": (0.10, ["bids", "{i}/ge", "{o}/bids"], ["ge"]),
    "run dicom": (0.15, ["run", "{i}/enhanced", "{o}", "--preset", "fast", "--quiet"], ["enhanced"]),
}

SETS = {"files": FILES, "answers": ANSWERS, "dicom": DICOM}
