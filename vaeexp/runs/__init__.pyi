from . import (
    drawing as drawing,
)
from . import (
    export as export,
)
from . import (
    new_data as new_data,
)
from . import (
    reproduce as reproduce,
)
from . import (
    run as run,
)
