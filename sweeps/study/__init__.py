"""Study files: YAML becomes one checked `Study`."""
