#!/bin/sh
# Everything to measure on one accelerator, in ten minutes: each config's step beside its plan, then
# this project beside PyTorch, eager and compiled, NCHW and channels_last, float32 and autocast.
#
#   bench/device.sh FOLDER          the tables go to FOLDER as they come
#   TRIAL=1 bench/device.sh FOLDER  the same path in a minute or two, on a CPU
#   PYTHON=python3                  with this Python; .venv's by default
set -u
OUT=${1:?name a folder for the tables}
PYTHON=${PYTHON:-.venv/bin/python}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1

within() { # SECONDS FILE COMMAND...: runs it, keeps what it printed, and goes on in any case
    seconds=$1 file=$2
    shift 2
    timeout --kill-after=5 "$seconds" "$@" >"$OUT/$file.txt" 2>"$OUT/$file.log" ||
        echo "$file: ended with $?; see $OUT/$file.log"
    cat "$OUT/$file.txt"
}

if [ -n "${TRIAL:-}" ]; then
    within 300 steps "$PYTHON" bench/card.py --tiny --at_once=2 \
        --configs=dense_gan_mnist,unet_brain_mri --output="$OUT/steps.md"
    within 300 rows "$PYTHON" bench/table.py --rows=dense_mnist --rivals=NCHW,channels_last \
        --rounds=1 --output="$OUT/rows.md"
    exit
fi
within 115 steps "$PYTHON" bench/card.py --at_once=8 --output="$OUT/steps.md"
within 115 steps_bfloat16 "$PYTHON" bench/card.py --at_once=8 --dtype=bfloat16 \
    --output="$OUT/steps_bfloat16.md"
# The rows of the aims first; compiled PyTorch takes most of the time.
for row in dcgan_64 acgan_64 unet_16 vgg16 dense_mnist acgan_best_64; do
    within 58 "row_$row" "$PYTHON" bench/table.py --rows="$row,$row:bfloat16" --rounds=3 \
        --rivals=NCHW,channels_last,compile+channels_last
done
