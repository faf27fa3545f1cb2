from .answer import (
    answer_lines as answer_lines,
)
from .answer import (
    failed_checks as failed_checks,
)
from .chapters import write_report as write_report
from .study_comparison import (
    check_index as check_index,
)
from .study_comparison import (
    state_words as state_words,
)
from .study_comparison import (
    write_comparison as write_comparison,
)
from .study_comparison import (
    write_index as write_index,
)

PAGE: str
