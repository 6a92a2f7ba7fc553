"""--mode=ablate: many runs that differ in a few settings, and the table that compares them."""
