"""A user without a name, a home or rights to write to the files of others; only root can become
one.
"""

import os
import shutil

import pytest

NUMBER = 54322
_RIGHTS = "+dac_read_search"
"""The interpreter and the tests' folders may lie where only root can look."""
AS_OTHER_USER = [
    *("setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups"),
    *(f"--inh-caps={_RIGHTS}", f"--ambient-caps={_RIGHTS}"),
    *("env", "-u", "USER", "-u", "LOGNAME", "-u", "LNAME", "-u", "USERNAME", "-u", "VAEEXP_CACHE"),
    *("-u", "XDG_CACHE_HOME", "-u", "MPLCONFIGDIR", "-u", "HOME"),
]
"""Put before a command and, where it has a home, `HOME=…`."""
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="takes root and setpriv",
)
