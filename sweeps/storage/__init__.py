"""Where studies are kept: the only place that knows attribute names and Optuna's private parts."""
