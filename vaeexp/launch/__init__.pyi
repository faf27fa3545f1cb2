from . import (
    definition as definition,
)
from . import (
    job as job,
)
from . import (
    run as run,
)
