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
    output_files as output_files,
)
from . import (
    reproduce as reproduce,
)
from . import (
    row_files as row_files,
)
from . import (
    run as run,
)
