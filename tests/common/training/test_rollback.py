"""A run that diverges can go back to its last checkpoint and try more carefully."""

import pytest

from common.program.errors import DivergenceError, UserError
from common.runs.workdir import open_run, read_record
from common.training import numbers
from common.training.rollback import config_after, seed_after
from common.training.train import train
from configs import acgan_covid, dense_gan_mnist, small_cnn_chest_xray
from tests.checkpoint_leaves import assert_same_leaves, read_leaves


def config_of(num_steps=6, **settings):
    config = dense_gan_mnist.get_config("tiny").unlock()
    config.model.generator.update(widths=(8, 8), latent_size=6)
    config.model.discriminator.update(widths=(8, 8))
    config.data.update(image_size=4, batch_size=8, num_phantoms=64, splits="70,15,15")
    config.train.update(num_steps=str(num_steps), log_every="1", checkpoint_every="2")
    config.train.update(picture_every="0", eval_every="0", on_divergence="rollback")
    config.train.update(settings)
    return config.lock()


@pytest.fixture
def diverging(monkeypatch):
    """Lets step 3 diverge so many times."""

    def at_step_3(times):
        left, check = [*range(times)], numbers.check_finite

        def failing(values, start, step, **more):
            if step == 3 and left:
                left.pop()
                raise DivergenceError("Training diverged in step 3: loss is nan.", "Lower it.")
            check(values, start, step, **more)

        monkeypatch.setattr(numbers, "check_finite", failing)

    return at_step_3


def test_it_goes_back_and_says_so(diverging, tmp_path, caplog):
    diverging(2)
    assert train(config_of(), tmp_path)
    record = read_record(tmp_path)
    assert [back["step"] for back in record["rollbacks"]] == [2, 2]
    assert record["step"] == 6 and "goes back to step 2" in record["warnings"][0]
    assert "rollback 2 of at most 3" in caplog.text
    assert open_run(tmp_path).config.optimizer.generator.learning_rate == (
        config_of().optimizer.generator.learning_rate
    )


def test_without_a_checkpoint_it_begins_again(diverging, tmp_path):
    diverging(1)
    assert train(config_of(checkpoint_every="4"), tmp_path)
    assert read_record(tmp_path)["rollbacks"][0]["step"] == 0


def test_after_a_rollback_it_resumes_bit_for_bit(diverging, tmp_path):
    diverging(1)
    train(config_of(), tmp_path / "whole")
    diverging(1)
    train(config_of(4), tmp_path / "cut")
    train(config_of(6), tmp_path / "cut")
    train(config_of(on_divergence="stop"), tmp_path / "undisturbed")
    whole = read_leaves(tmp_path / "whole", 6)
    assert_same_leaves(read_leaves(tmp_path / "cut", 6), whole)
    undisturbed = read_leaves(tmp_path / "undisturbed", 6)
    assert any((leaf != undisturbed[name]).any() for name, leaf in whole.items())


def test_it_gives_up(diverging, tmp_path):
    diverging(9)
    with pytest.raises(DivergenceError, match=r"gone back 2 times .* given up"):
        train(config_of(rollbacks=2), tmp_path)
    with pytest.raises(DivergenceError, match=r"in step 3: loss is nan\. Lower it\."):
        train(config_of(on_divergence="stop"), tmp_path)


@pytest.mark.parametrize("config", [acgan_covid, small_cnn_chest_xray])
def test_each_rollback_halves_all_learning_rates(config):
    before = config.get_config()
    after = config_after(before, 2)
    players = before.optimizer if "generator" not in before.optimizer else None
    names = ["optimizer"] if players else ["optimizer.generator", "optimizer.discriminator"]
    for name in names:
        rates = [_section(c, name).learning_rate for c in (before, after)]
        assert rates[1] == rates[0] / 4
    assert config_after(before, 0) == before
    assert len({seed_after(seed, count) for seed in range(9) for count in range(9)}) == 81
    assert [seed_after(seed, 0) for seed in range(9)] == [*range(9)]


def _section(config, name):
    for part in name.split("."):
        config = config[part]
    return config


def test_replicas_do_not_go_back(tmp_path):
    with pytest.raises(UserError, match="those of replicas are one"):
        train(config_of(replicas=2), tmp_path)
