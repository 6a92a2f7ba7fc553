"""A workdir as a training leaves it, written by hand: for pages about runs."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.prepared.prepared import DataCard
from common.program.settings import to_json
from configs.classify import get_config

NASTY = "<script>alert('x')</script>"

CARD = DataCard(
    name=f"scans {NASTY}",
    classes=(NASTY, "other"),
    num_examples={"train": 20, "val": 4, "test": 4},
    image_size=32,
    channels=1,
    fingerprint="0123456789abcdef",
    synthetic=False,
    skipped=0,
    class_counts=(12, 8),
)
RECORD = {
    "data": CARD.to_dict(),
    "command": f"python launch.py --config=configs/classify.py:tiny --workdir='{NASTY}'",
    "versions": {"python": "3.11.7", "jax": "0.10.2"},
    "git_commit": "abc",
    "devices": {"platform": "cpu", "kind": "cpu", "count": 1, "processes": 1},
    "pictures": ["predictions"],
    "step": 40,
    "num_steps": 60,
    "images_per_second": 123.4,
    "wall_seconds": 12.0,
    "idle_share": 0.01,
    "data_wait_share": 0.0,
    "config_changes": [{"step": 20, "settings": {"train.num_steps": ["30", "60"]}}],
    "warnings": [f"Something is wrong with {NASTY}."],
}
SCORE = {"value": 0.8, "low": 0.7, "high": 0.9}
REPORT = {
    "verdict": f"Tells the classes apart in part: {NASTY}.",
    "checkpoint_step": 40,
    "data": NASTY,
    "classes": CARD.classes,
    "confusion": [[3, 1], [0, 4]],
    "scores": {"accuracy": SCORE, f"sensitivity_{NASTY}": {**SCORE, "value": None}},
    "operating_points": {NASTY: {"threshold": 0.4, "sensitivity": SCORE}},
    "unlike": {"images": 4, "outside": 0},
}


def write_run(workdir: Path, learning_rate: float = 0.001, evaluated: bool = True) -> Path:
    """Writes a classifier's run and returns its workdir."""
    config = get_config("tiny").unlock()
    config.optimizer.learning_rate = learning_rate
    (workdir / "pictures").mkdir(parents=True)
    (workdir / "config.json").write_text(to_json(config))
    (workdir / "run.json").write_text(json.dumps(RECORD))
    rows = [
        {"step": step, "train/loss": 2 / step, "timing/data_wait_share": 0.0}
        for step in range(2, 42, 2)
    ]
    rows.append({"step": 40, "val/loss": 0.5, f"val/f1_{NASTY}": 0.25})
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (1, 20, 40):
        picture(workdir / "pictures" / f"{step:06d}_predictions.png", step)
    if evaluated:
        write_evaluation(workdir / "evaluation")
    return workdir


def write_evaluation(folder: Path) -> None:
    """Writes what an evaluation leaves."""
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(REPORT))
    (folder / "scored_images.csv").write_text("image\n")
    picture(folder / "figures.png", 99)
    picture(folder / f"{NASTY.replace('/', '-')}.png", 50)


def picture(file: Path, level: int) -> None:
    """Writes a small picture of one grey level."""
    Image.fromarray(np.full((8, 12), level, np.uint8)).save(file)
