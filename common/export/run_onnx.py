"""Runs the model.onnx beside it; needs onnxruntime and NumPy alone.

python run_onnx.py                       says what it takes and returns
python run_onnx.py INPUTS.npz OUTPUT.npy   an array for each input, by its name
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(arguments: list[str]) -> None:
    """Prints what is known of the model, or runs it."""
    model = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
    if len(arguments) != 2:
        print(model.get_modelmeta().custom_metadata_map["triptych"])
        return
    with np.load(arguments[0]) as inputs:
        (output,) = model.run(None, dict(inputs))
    np.save(arguments[1], output)


if __name__ == "__main__":
    main(sys.argv[1:])
