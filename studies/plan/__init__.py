"""--mode=plan: what an experiment needs of hardware that is not here, before it is paid for."""
