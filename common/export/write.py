"""--mode=export: a trained model in files that other programs load, without this one."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from common.export.model import Model
from common.program.errors import FaultError, UserError
from common.program.files import write_atomically
from common.program.options import Options
from common.program.outputs import Outputs
from common.runs.workdir import Run

STABLEHLO, ONNX, FACTS, SCRIPT = "model.stablehlo", "model.onnx", "model.json", "run_onnx.py"
PAGE = ("try.html", "try.js")
_KEY = "triptych"  # of the facts in an ONNX file
_MOST = 1e-3  # difference to the run itself; on noise, rounding alone made 1.2e-4 (pix2pix)
_SIZES = (1, 3)  # of batches that are compared


def write_model(run: Run, options: Options, make: Callable[[Run], Model]) -> None:
    """Writes the files of a model, and compares what they compute with the run itself.

    Args:
      run: the run.
      options: --output and --overwrite.
      make: loads the model.

    Raises:
      UserError: an option or the run can't be used, or a package is missing.
      FaultError: a file computes something else.
    """
    if not options.output:
        raise UserError("--mode=export needs --output=DIR, the folder to write to.")
    _check_installed()
    with Outputs(
        Path(options.output),
        "export",
        of=str(run.workdir.resolve()),
        overwrite=options.overwrite,
        inputs=[run.workdir],
    ) as outputs:
        outputs.claim(dict.fromkeys((STABLEHLO, ONNX, SCRIPT, *PAGE, FACTS), ""))
        model = make(run)
        facts = json.dumps(_facts_of(run, model), indent=2) + "\n"
        apart = {
            STABLEHLO: _write_stablehlo(model, outputs.draft(STABLEHLO)),
            ONNX: _write_onnx(model, facts, outputs.draft(ONNX)),
        }
        for name in (SCRIPT, *PAGE):
            write_atomically(outputs.draft(name), Path(__file__).with_name(name).read_text())
        write_atomically(outputs.draft(FACTS), facts)
    print(f"step {model.step} of {run.workdir}, in {outputs.folder}:")
    for name, difference in apart.items():
        print(f"  {name} differs from the run itself by at most {difference:.1e}")


def _check_installed() -> None:
    for package in ("flatbuffers", "onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise UserError(
                f"--mode=export needs the package {package}; install it with"
                " pip install -e '.[export]'."
            )


def _facts_of(run: Run, model: Model) -> dict[str, object]:
    """Returns what has to be known of a model to use it, for JSON.

    `images` says how a file becomes an image of the model, as `config.data` has it.
    """
    card, data = run.card, run.settings.data
    return {
        "task": run.config.task,
        "step": model.step,
        "inputs": {name: one.facts for name, one in model.inputs.items()},
        "output": model.output.facts,
        **model.facts,
        "images": {
            "trained_on": card.caption,
            "size": card.image_size,
            "channels": card.channels,
            "neighbours": card.neighbours,
            "fit": data.fit,
            "take": data.take,
            "window": list(card.window),
            "native_size": list(card.native_size),
            "resize": "bicubic with antialiasing, as Pillow's",
        },
    }


def _write_stablehlo(model: Model, file: Path) -> float:
    """Writes a model as StableHLO, and returns its difference to the run."""
    content = bytes(model.exported().serialize())
    write_atomically(file, content)
    return _difference(model, export.deserialize(bytearray(content)).call)


def _write_onnx(model: Model, facts: str, file: Path) -> float:
    """Writes a model as ONNX, and returns its difference to the run."""
    import onnxruntime

    from common.export.onnx_model import to_onnx

    content = to_onnx(model, {_KEY: facts}).SerializeToString()
    write_atomically(file, content)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(*inputs: np.ndarray) -> Any:
        return session.run(None, dict(zip(model.inputs, inputs, strict=True)))[0]

    return _difference(model, run)


def _difference(model: Model, other: Callable[..., Any]) -> float:
    """Returns the largest difference of another program to the model, on inputs drawn at random.

    Raises:
      FaultError: it is too large.
    """
    found = 0.0
    for size in _SIZES:
        inputs = model.examples(size)
        ours, theirs = jax.jit(model.function)(*inputs), other(*inputs)
        found = max(found, float(np.abs(np.asarray(ours) - np.asarray(theirs)).max()))
    if not found <= _MOST:
        raise FaultError(
            f"The exported program differs from the run itself by {found:.1e}, more than {_MOST}."
        )
    return found
