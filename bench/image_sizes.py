"""Counts the memory of a chip that the BigGAN's training step needs, by the size of the images.

    python bench/image_sizes.py [--topology=v5e:2x2] [--sizes=256] [--parts=1] [--remat]

Nothing is trained: XLA's compiler for the hardware says it (pip install -e '.[plan]'). The config
is biggan_chest_xray with 64 maps at full size, attention at 64x64 or at half of the image, and 8
images a chip. It updates the discriminator once and varies no images: there is less to compile.
"""

import argparse
import re

from common.devices.hardware import prepare_environment

WIDTH, BATCH = 64, 8
GIB = 2**30


def main() -> None:
    """Prints a line for each image size as soon as its program is compiled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--sizes", default="32,64,128,256")
    parser.add_argument("--parts", type=int, default=1, help="config.optimizer.accumulate")
    parser.add_argument("--remat", action="store_true", help="config.model.*.remat")
    args = parser.parse_args()
    prepare_environment(args.topology)
    for size in map(int, args.sizes.split(",")):
        said = memory(args.topology, size, args.parts, remat=args.remat)
        print(f"{size:4} pixels, remat={args.remat}, {args.parts} parts: {said}", flush=True)


def memory(topology: str, size: int, parts: int, *, remat: bool) -> str:
    """Returns what the compiler says of a chip's memory."""
    import jax

    from common.data.prepared.prepared import DataCard
    from common.devices.hardware import find_hardware
    from common.program.library_errors import is_out_of_memory
    from configs.biggan_chest_xray import get_config
    from studies.plan.compile import TRAINING, compile_programs

    config = get_config()
    config.data.image_size = size
    config.optimizer.update(discriminator_steps=1, accumulate=parts)
    config.discriminator_augment.update(translation=0.0, cutout=0.0)
    for player in (config.model.generator, config.model.discriminator):
        player.update(width=WIDTH, attention=min(64, size // 2), remat=remat)
    classes = ("NORMAL", "PNEUMONIA")
    card = DataCard("given", classes, {"train": 1000}, size, 1, "", False, 0)
    try:
        hardware = find_hardware(topology)
        (found,) = compile_programs(config, card, hardware, BATCH, (TRAINING,))
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        used = re.search(r"Used [\d.]+\w of [\d.]+\w \w+", str(error))
        return f"does not fit: {used[0] if used else error}"
    sizes = {"in all": found.memory, "state and data": found.arguments}
    sizes["temporaries"] = found.temporaries
    told = ", ".join(f"{count / GIB:.2f} GiB {name}" for name, count in sizes.items())
    return f"{told}; compiled in {found.seconds:.0f} s"


if __name__ == "__main__":
    main()
