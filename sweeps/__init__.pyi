"""The door of sweeps: what other packages may import from it, by the module that has it."""

from .archive.manifest import Manifest as Manifest
from .archive.pack import pack_study as pack_study
from .archive.restore import restore_study as restore_study
from .checksums import (
    SLOT as SLOT,
)
from .checksums import (
    Damaged as Damaged,
)
from .checksums import (
    check_seal as check_seal,
)
from .checksums import (
    file_digest as file_digest,
)
from .checksums import (
    seal as seal,
)
from .doctor.findings import (
    Check as Check,
)
from .doctor.findings import (
    Finding as Finding,
)
from .doctor.findings import (
    examine as examine,
)
from .doctor.storage import (
    check_driver as check_driver,
)
from .doctor.storage import (
    check_storage as check_storage,
)
from .engine import (
    Sweep as Sweep,
)
from .engine import (
    open_sweep as open_sweep,
)
from .engine import (
    run_study as run_study,
)
from .engine.events import (
    Observer as Observer,
)
from .engine.events import (
    Running as Running,
)
from .engine.events import (
    Snapshot as Snapshot,
)
from .engine.extending import (
    extension as extension,
)
from .engine.failures import MAX_FAILURES as MAX_FAILURES
from .engine.trial_loop import STOP_SECONDS as STOP_SECONDS
from .engine.warm_start import (
    study_reader as study_reader,
)
from .engine.warm_start import (
    warm_start as warm_start,
)
from .errors import (
    USUAL_WORDS as USUAL_WORDS,
)
from .errors import (
    AllFailedError as AllFailedError,
)
from .errors import (
    EngineLostError as EngineLostError,
)
from .errors import (
    UserError as UserError,
)
from .errors import (
    did_you_mean as did_you_mean,
)
from .errors import (
    limit_reached as limit_reached,
)
from .errors import (
    masked as masked,
)
from .errors import (
    unfit_folder as unfit_folder,
)
from .errors import (
    warn_once as warn_once,
)
from .files import (
    is_aside as is_aside,
)
from .files import (
    quarantine as quarantine,
)
from .files import (
    remove_unfinished as remove_unfinished,
)
from .files import (
    write_whole as write_whole,
)
from .lanes import (
    Failure as Failure,
)
from .lanes import (
    FailureKind as FailureKind,
)
from .lanes import (
    Lanes as Lanes,
)
from .lanes import (
    Outcome as Outcome,
)
from .lanes import (
    Plan as Plan,
)
from .lanes import (
    Progress as Progress,
)
from .lanes import (
    TrialResult as TrialResult,
)
from .lanes import (
    TrialSpec as TrialSpec,
)
from .lanes import (
    WorkerState as WorkerState,
)
from .lanes import (
    advance_all as advance_all,
)
from .lanes import (
    baseline_names as baseline_names,
)
from .lanes import (
    named_run as named_run,
)
from .lanes import (
    run_folder as run_folder,
)
from .lanes import (
    run_name as run_name,
)
from .lanes.engines import (
    ENGINES as ENGINES,
)
from .lanes.engines import (
    Engine as Engine,
)
from .lanes.engines import (
    open_engine as open_engine,
)
from .lanes.pulse import (
    ends_soon as ends_soon,
)
from .lanes.pulse import (
    heartbeat as heartbeat,
)
from .lanes.pulse import (
    heartbeats as heartbeats,
)
from .lanes.worker_pool import WorkerPool as WorkerPool
from .lanes.worker_process import (
    preload as preload,
)
from .lanes.worker_process import (
    without_main_module as without_main_module,
)
from .memory import (
    FreeMemory as FreeMemory,
)
from .memory import (
    free_memory as free_memory,
)
from .names import (
    check_name as check_name,
)
from .names import (
    is_name as is_name,
)
from .program import (
    Program as Program,
)
from .program import (
    use_program as use_program,
)
from .requirements import (
    check_optuna as check_optuna,
)
from .results import (
    Results as Results,
)
from .results import (
    read_results as read_results,
)
from .schema import (
    MARKS as MARKS,
)
from .schema import (
    UNNUMBERED as UNNUMBERED,
)
from .schema import (
    VERSION as VERSION,
)
from .schema import (
    check_file as check_file,
)
from .schema import (
    check_schema as check_schema,
)
from .search.curves.process import matern as matern
from .search.pruners import (
    PRUNERS as PRUNERS,
)
from .search.pruners import (
    PromotionSettings as PromotionSettings,
)
from .search.pruners import (
    PrunerSettings as PrunerSettings,
)
from .search.samplers import (
    GRID_DONE as GRID_DONE,
)
from .search.samplers import (
    exhausted as exhausted,
)
from .search.samplers import (
    grid_size as grid_size,
)
from .seeds import seed_of as seed_of
from .source import (
    check_sources as check_sources,
)
from .source import (
    named_sources as named_sources,
)
from .source import (
    same_code as same_code,
)
from .source import (
    search_working_directory as search_working_directory,
)
from .source import (
    source_of as source_of,
)
from .source import (
    sources as sources,
)
from .state.record import (
    Description as Description,
)
from .state.record import (
    RegisteredModel as RegisteredModel,
)
from .state.record import (
    StudyRecord as StudyRecord,
)
from .state.stages import (
    fixed_differences as fixed_differences,
)
from .state.state import State as State
from .state.trial import (
    Epoch as Epoch,
)
from .state.trial import (
    Trial as Trial,
)
from .state.trial import (
    stored_path as stored_path,
)
from .storage import (
    driver_in_words as driver_in_words,
)
from .storage import (
    hold_study as hold_study,
)
from .storage import (
    keep_figures as keep_figures,
)
from .storage import (
    open_storage as open_storage,
)
from .storage import (
    recorded_study as recorded_study,
)
from .storage import (
    spec_differences as spec_differences,
)
from .storage import (
    study_holder as study_holder,
)
from .storage import (
    study_names as study_names,
)
from .storage.journal import journal_path as journal_path
from .storage.journals import (
    PATIENCE as PATIENCE,
)
from .storage.journals import (
    SILENCE as SILENCE,
)
from .storage.running_trial import with_divergence as with_divergence
from .storage.study_record import (
    read_state as read_state,
)
from .storage.study_record import (
    study_record as study_record,
)
from .storage.study_record import (
    write_study as write_study,
)
from .study.overrides import (
    apply_overrides as apply_overrides,
)
from .study.ranges import (
    BEST as BEST,
)
from .study.ranges import (
    LEAST_RANKED as LEAST_RANKED,
)
from .study.ranges import (
    Bound as Bound,
)
from .study.ranges import (
    BoundHit as BoundHit,
)
from .study.ranges import (
    Growth as Growth,
)
from .study.ranges import (
    Searched as Searched,
)
from .study.ranges import (
    end_at as end_at,
)
from .study.ranges import (
    end_of as end_of,
)
from .study.ranges import (
    further_number as further_number,
)
from .study.ranges import (
    has_ends as has_ends,
)
from .study.ranges import (
    hits_of as hits_of,
)
from .study.ranges import (
    limits_of as limits_of,
)
from .study.ranges import (
    wider_end as wider_end,
)
from .study.space import (
    Parameter as Parameter,
)
from .study.space import (
    Space as Space,
)
from .study.space import (
    as_lists as as_lists,
)
from .study.study import (
    Study as Study,
)
from .study.study import (
    list_studies as list_studies,
)
from .study.study import (
    load_study as load_study,
)
from .study.study import (
    mentioned as mentioned,
)
from .study.study_model import (
    Baseline as Baseline,
)
from .study.study_model import (
    Keep as Keep,
)
from .study.study_model import (
    number_type as number_type,
)
from .study.yaml_file import (
    Mistakes as Mistakes,
)
from .study.yaml_file import (
    find_study as find_study,
)
from .study.yaml_file import (
    is_path as is_path,
)
from .study.yaml_file import (
    known_studies as known_studies,
)
from .study.yaml_file import (
    parse_yaml as parse_yaml,
)
from .study.yaml_file import (
    shown_path as shown_path,
)
from .tracking import (
    Mirror as Mirror,
)
from .tracking import (
    mirroring as mirroring,
)
from .tracking import (
    sync as sync,
)
from .tracking.checks import check_mirror as check_mirror
from .tracking.mlflow_store import tracking_uri as tracking_uri
from .tracking.ui import (
    LOOPBACK as LOOPBACK,
)
from .tracking.ui import (
    check_reachable as check_reachable,
)
from .tracking.ui import (
    run_pages as run_pages,
)
from .tracking.ui import (
    serve_ui as serve_ui,
)

__purpose__: str
