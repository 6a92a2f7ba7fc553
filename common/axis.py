"""The name of the axis over which a batch is spread on devices."""

AXIS = "batch"
