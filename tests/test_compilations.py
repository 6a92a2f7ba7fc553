"""Nothing is compiled once the first logging interval is over."""

import jax

from common.training import writers
from common.training.train import train
from configs.acgan_covid import get_config


def test_no_compilation_after_the_first_interval(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    compiled, at_log = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if "backend_compile" in event else None
    )
    write = writers.JsonlWriter.write_scalars

    def counting(self, step, scalars):
        at_log.append(len(compiled))
        write(self, step, scalars)

    monkeypatch.setattr(writers.JsonlWriter, "write_scalars", counting)
    config = get_config("tiny")
    config.train.update(num_steps="12", checkpoint_every="4")
    train(config, tmp_path / "run")
    assert at_log[0] > 0  # the listener listens
    # Evaluation, pictures and checkpoints come after the first interval, and every one again.
    assert len(compiled) == at_log[0]
