from . import (
    likelihoods as likelihoods,
)
from . import (
    networks as networks,
)
from . import (
    posteriors as posteriors,
)
from . import (
    priors as priors,
)
from . import (
    vae as vae,
)
