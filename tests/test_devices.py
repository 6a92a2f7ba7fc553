"""The number of devices changes nothing but the speed.

Each count runs in a process of its own, because XLA fixes its devices when it starts.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

FIRST_STEP = ROOT / "tests" / "first_steps.py"
