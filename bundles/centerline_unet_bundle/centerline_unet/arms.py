"""Scores with and without a centerline, side by side: what guidance is worth, and what knowing the answer would be."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import nibabel
import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from numpy.typing import NDArray

from .common.evaluation import VesselScores
from .common.files import check_writable, replacing
from .common.score_handler import items_of
from .inferers import Crops, GuidedInferer

TABLE = ("dice", "cldice", "precision", "recall", "hd95_mm", "assd_mm", "betti0_error")
KNOWING = "a centerline that knows the reference: not a result"
MEANING = {
    "auto": "no reference at inference: the headline",
    "grid": "no centerline, windows over the whole volume",
    "oracle_volume": "true centerline, whole volume: an upper bound, not a result",
    "oracle_crop": "true centerline, scored inside its crops only, as published: not a result",
}


class ArmScores:
    """Handler that scores each arm of a :class:`.GuidedInferer`, and writes and prints them side by side.

    For ``val_handlers``. The first arm's scores go to ``output_dir`` as :class:`.VesselScores` writes them, those of
    the others to ``output_dir/<arm>``. ``arms.csv`` has one row for each case and arm, with the source of the
    centerline and, where there are crops, the share of the true lumen inside them; ``arms.json`` has the means. Where
    the true centerline is allowed, "oracle_crop" scores its arm inside the crops alone.

    Args:
        inferer: what segments; its ``last`` says what guided each case.
        output_dir: folder to write to.
    """

    def __init__(self, inferer: GuidedInferer, output_dir: str | Path) -> None:
        self.inferer = inferer
        self.output_dir = Path(output_dir)
        arms = [*inferer.arms, *(["oracle_crop"] if "oracle_volume" in inferer.arms else [])]
        self.scores = {
            arm: VesselScores(self.output_dir if number == 0 else self.output_dir / arm, quiet=number > 0)
            for number, arm in enumerate(arms)
        }
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Score each iteration of ``engine``, write at the end of its epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _engine: Engine) -> None:
        self.rows = []
        check_writable(self.output_dir)
        for scores in self.scores.values():
            scores.start()

    def _score(self, engine: Engine) -> None:
        for case, item in items_of(engine):
            for arm in self.scores:
                number = self.inferer.arms.index("oracle_volume" if arm == "oracle_crop" else arm)
                crops = self.inferer.last[self.inferer.arms[number]]
                pred, label = item["pred"][number : number + 1], item["label"]
                coverage = _coverage(label, crops)
                if arm == "oracle_crop":
                    pred, label = _inside_only(pred, crops), _inside_only(label, crops)
                scores = self.scores[arm].score(case, pred, label)
                guidance = crops.guidance
                row = {"case": case, "arm": arm, "source": guidance.source, "quality": guidance.quality}
                self.rows.append(row | {"crops": len(crops.starts), "coverage": coverage} | scores)

    def _finish(self, engine: Engine) -> None:
        rows = self.rows
        if idist.get_world_size() > 1:
            gathered = [row for part in idist.all_gather(self.rows) for row in part]
            rows = list({(row["case"], row["arm"]): row for row in gathered}.values())
        means = {}
        for arm, scores in self.scores.items():
            own = [row for row in rows if row["arm"] == arm]
            scores.notes = {"centerline": self._guidance(arm, own)}
            means[arm] = scores.finish()
        engine.state.metrics.update(next(iter(means.values())))
        if idist.get_rank() == 0:
            self._write(rows, means)

    def _guidance(self, arm: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what guided the cases of one arm: their sources, and the mean coverage of those with crops."""
        guided = [row["coverage"] for row in rows if row["crops"]]
        return {
            "meaning": KNOWING if arm == "auto" and self.inferer.providers[arm].knows_reference else MEANING[arm],
            "sources": dict(sorted(Counter(row["source"] for row in rows).items())),
            "coverage": float(np.mean(guided)) if guided else None,
        }

    def _write(self, rows: list[dict[str, Any]], means: Mapping[str, Mapping[str, float]]) -> None:
        """Write ``arms.csv`` and ``arms.json``, and print the table."""
        summary = {}
        for arm, scores in means.items():
            own = [row for row in rows if row["arm"] == arm]
            summary[arm] = {"cases": len(own), **self._guidance(arm, own), **{name: scores[name] for name in TABLE}}
        with replacing(self.output_dir / "arms.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(sorted(rows, key=lambda row: (row["case"], list(means).index(row["arm"]))))
        with replacing(self.output_dir / "arms.json") as path:
            path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        print(_render(summary), flush=True)


def _coverage(label: MetaTensor, crops: Crops) -> float | str:
    """Return the share of the lumen inside the crops; 1 without lumen, nothing where windows covered the volume."""
    if len(crops.starts) == 0:
        return ""
    voxels = np.argwhere(label[0].numpy(force=True) > 0)
    return float(_inside(voxels, label, crops).mean()) if len(voxels) else 1.0


def _inside_only(mask: MetaTensor, crops: Crops) -> MetaTensor:
    """Return a mask ``(1, X, Y, Z)`` without what lies outside the crops."""
    voxels = np.argwhere(mask[0].numpy(force=True) > 0)
    outside = voxels[~_inside(voxels, mask, crops)]
    kept = mask.clone()
    kept[(0, *outside.T)] = 0
    return kept


def _inside(voxels: NDArray[np.int64], volume: MetaTensor, crops: Crops) -> NDArray[np.bool_]:
    """Tell which voxels ``(N, 3)`` of a volume lie in a crop, ``(N,)``."""
    if len(crops.starts) == 0:
        return np.ones(len(voxels), bool)
    to_crops = np.linalg.inv(crops.guidance.affine) @ volume.affine.numpy(force=True)
    places = nibabel.affines.apply_affine(to_crops, voxels) + 0.5  # a voxel reaches half a voxel around its centre
    inside = np.zeros(len(voxels), bool)
    for start in crops.starts:
        inside |= ((places >= start) & (places < start + np.array(crops.size))).all(axis=1)
    return inside


def _render(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the arms as a table of text."""
    names = (*TABLE, "coverage")
    lines = [f"{'arm':14}" + "".join(f"{name:>14}" for name in names)]
    for arm, values in summary.items():
        cells = ("-" if values[name] is None else f"{values[name]:.4g}" for name in names)
        lines.append(f"{arm:14}" + "".join(f"{cell:>14}" for cell in cells))
    notes = [f"{arm}: {values['meaning']}; centerline: {_listed(values['sources'])}" for arm, values in summary.items()]
    if "oracle_volume" not in summary:
        notes.append("oracle_volume, oracle_crop: not scored, because they read the reference (--allow_oracle True)")
    return "\n".join([*lines, *notes])


def _listed(sources: Mapping[str, int]) -> str:
    return ", ".join(f"{source} ({count})" for source, count in sources.items())
