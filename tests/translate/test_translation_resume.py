"""A translation that was stopped goes on as if it had not been, its pools included."""

import numpy as np
import pytest

from common.training.train import train
from configs import cyclegan_brain_mri, pix2pix_brain_mri
from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.interrupted import signalled_after

OTHER_WAY = ("back_generator", "back_discriminator", "back_average", "pool", "back_pool")


@pytest.mark.slow
@pytest.mark.usefixtures("one_program")
@pytest.mark.parametrize(
    ("module", "more"), [(pix2pix_brain_mri, ()), (cyclegan_brain_mri, OTHER_WAY)]
)
def test_every_leaf_is_equal_after_an_interruption(module, more, tmp_path):
    config = module.get_config("tiny")
    config.data.update(image_size=24, batch_size=2, num_phantoms=8)
    config.model.update(width=2, depth=2, blocks=0, patch_width=2, pool_size=3)
    config.train.update(num_steps="5", eval_every="0", picture_every="0", checkpoint_every="0")
    config.train.best_metric = ""
    train(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        signalled_after(3, patch)
        assert not train(config, tmp_path / "cut")
    assert train(config, tmp_path / "cut")
    whole, cut = (read_leaves(tmp_path / name, 5) for name in ("whole", "cut"))
    assert_same_leaves(whole, cut, *more)
    if more:
        assert whole["/pool/filled"] == 3 and np.ptp(whole["/pool/images"]) > 0
