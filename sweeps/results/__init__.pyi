"""The door of sweeps.results: what other packages may import from it, by the module that has it."""

from .candidates import (
    found_rows as found_rows,
)
from .candidates import (
    found_trials as found_trials,
)
from .candidates import (
    promotes as promotes,
)
from .front import (
    pareto_front as pareto_front,
)
from .racing import (
    MOST_LOST as MOST_LOST,
)
from .racing import (
    Dropped as Dropped,
)
from .racing import (
    Race as Race,
)
from .rankings import (
    Results as Results,
)
from .rankings import (
    best_record as best_record,
)
from .rankings import (
    best_run as best_run,
)
from .rankings import (
    best_so_far as best_so_far,
)
from .rankings import (
    compared_levels as compared_levels,
)
from .rankings import (
    front_trials as front_trials,
)
from .rankings import (
    last_values as last_values,
)
from .rankings import (
    matched_pairs as matched_pairs,
)
from .rankings import (
    race_of as race_of,
)
from .rankings import (
    ranked as ranked,
)
from .rankings import (
    ranked_trials as ranked_trials,
)
from .rankings import (
    read_results as read_results,
)
from .rankings import (
    tables_of as tables_of,
)
from .statistics import (
    LEAST_VALUES as LEAST_VALUES,
)
from .statistics import (
    MANY as MANY,
)
from .statistics import (
    Interval as Interval,
)
from .statistics import (
    difference_interval as difference_interval,
)
from .statistics import (
    holm as holm,
)
from .statistics import (
    interval_of_mean as interval_of_mean,
)
from .statistics import (
    mean_interval as mean_interval,
)
from .statistics import (
    paired_interval as paired_interval,
)
from .statistics import (
    pooled_deviation as pooled_deviation,
)
from .statistics import (
    wilcoxon_p as wilcoxon_p,
)
