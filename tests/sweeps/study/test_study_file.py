"""Study files: the shipped ones as they resolve, overrides, and one clear sentence for whatever is
wrong.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from sweeps.errors import UserError
from sweeps.state.record import StudyRecord
from sweeps.storage import check_definition, spec_differences, with_new_settings
from sweeps.study.start import BestOf
from sweeps.study.study import list_studies, load_study
from vaeexp.settings import SECTIONS
from vaeexp.study import OBJECTIVES

STUDIES = Path(__file__).parents[3] / "studies"

SMALL = """\
question: What is a good beta?
model: {latent_size: 8}
train: {epochs: 4}
search:
  beta: {low: 0.1, high: 10, log: true}
  optimizer: {values: [adam, adamax]}
  prior: {values: [normal, mixture]}
  components: {low: 2, high: 16, when: {prior: mixture}}
budget: {trials: 5}
compare: {parameters: [optimizer], top: 1, seeds: 2}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A current folder with `studies/x.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "x.yaml").write_text(SMALL)
    return tmp_path


def load(text=None, *overrides, check=None, name="x"):
    if text is not None:
        Path("studies/x.yaml").write_text(text)
    return load_study(
        name, sections=SECTIONS, shipped=STUDIES, overrides=overrides, check=check, epochs="epochs"
    )


def changed(**sections):
    """SMALL with top-level keys replaced, and taken out where None."""
    content = yaml.safe_load(SMALL) | sections
    return yaml.safe_dump(
        {key: value for key, value in content.items() if value is not None}, sort_keys=False
    )


def mistakes(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(*arguments, **options)
    return str(caught.value)


def message(*arguments, **options) -> str:
    """What one mistake says, without its line number."""
    text = mistakes(*arguments, **options)
    assert "\n" not in text
    return re.sub(r"(\.yaml):\d+: ", r"\1: ", text)


# ---- the shipped studies ----


def test_spec_holds_all_that_defines_the_study_and_not_the_budget():
    spec = load().spec()
    assert list(spec) == [
        *("name", "question", "data", "model", "train", "evaluation"),
        *("search", "seed", "sampler", "pruner", "confirm", "compare", "baselines", "start"),
    ]
    assert "beta" not in spec["train"]  # it is searched
    assert spec["model"]["latent_size"] == 8
    assert spec["search"]["components"] == {
        "kind": "int",
        "low": 2,
        "high": 16,
        "log": False,
        "when": {"prior": ["mixture"]},
    }
    assert spec["confirm"] is None


PINNED = json.loads(Path(__file__).with_name("shipped_specs.json").read_text(encoding="utf-8"))
PINNED_OVERRIDES = {
    "beta_mnist --set": (
        *(
            "pruner.name=hyperband",
            "prior=mixture",
            "sampler=qmc",
            "search.epochs.low=3",
            "search.epochs.high=27",
        ),
        *("hidden=[64, 64]", "dataset=fashion_mnist", "compare.parameters=[optimizer]", "start=[]"),
    )
}
"""Overrides that a pinned spec was made with."""


def test_settings_that_a_stored_study_does_not_have_stand_at_their_defaults():
    plain = load()
    stored = StudyRecord(name="x", spec=json.loads(json.dumps(plain.spec())))
    for name in ("free_nats", "patience"):
        del stored.spec["train"][name]
    check_definition(stored, plain, extend=False)
    with pytest.raises(UserError, match=r"train\.free_nats: 0\.0 → 0\.1"):
        check_definition(stored, load(None, "free_nats=0.1"), extend=False)
    with pytest.raises(UserError, match=r"search\.free_nats: absent → "):
        check_definition(stored, load(None, "search.free_nats={values: [0, 0.1]}"), extend=False)


def test_every_shipped_study_is_pinned():
    assert {path.stem for path in STUDIES.glob("*.yaml")} | set(PINNED_OVERRIDES) == set(PINNED)


@pytest.mark.parametrize("name", PINNED)
def test_a_shipped_study_has_the_spec_that_stored_studies_were_begun_with(name):
    """A stored study continues only where its spec is the same, but for settings that its version
    did not have yet.
    """
    study = load_study(
        name.split()[0],
        sections=SECTIONS,
        shipped=STUDIES,
        overrides=PINNED_OVERRIDES.get(name, ()),
        epochs="epochs",
        data="data",
    )
    assert json.loads(json.dumps(study.spec())) == with_new_settings(PINNED[name], study)
    assert list(study.spec()["search"]) == list(PINNED[name]["search"]), (
        "the order of asking is part of the study"
    )


# ---- where studies are found ----


def test_resolution_order_is_path_then_current_folder_then_shipped(here):
    (here / "other").mkdir()
    (here / "other" / "smoke.yaml").write_text(SMALL)
    assert (
        load_study("other/smoke.yaml", sections=SECTIONS, shipped=STUDIES).question
        == "What is a good beta?"
    )
    assert load_study("smoke", sections=SECTIONS, shipped=STUDIES).path == STUDIES / "smoke.yaml"
    (here / "studies" / "smoke.yaml").write_text(SMALL)
    assert load_study("smoke", sections=SECTIONS, shipped=STUDIES).path == Path(
        "studies/smoke.yaml"
    )


def test_unknown_study_names_the_nearest_and_where_it_looked():
    text = message(name="beta_mnits")
    assert "unknown study 'beta_mnits'" in text
    assert f"looked in studies and {STUDIES}" in text
    assert "Did you mean 'beta_mnist'?" in text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nowhere/smoke.yaml", ["nowhere/smoke.yaml: no such file", "'smoke'"]),
        ("studies.yaml", ["studies.yaml: a folder"]),
        ("studies/a b.yaml", ["studies/a b.yaml: got 'a b' as name", "letters, digits"]),
    ],
)
def test_paths_that_are_no_study(here, name, parts):
    (here / "studies.yaml").mkdir()
    (here / "studies" / "a b.yaml").write_text(SMALL)
    text = message(name=name)
    assert all(part in text for part in parts), text


def test_list_has_own_studies_first_and_the_error_of_broken_ones(here):
    (here / "studies" / "broken.yaml").write_text("question: [")
    (here / "studies" / "smoke.yaml").write_text(SMALL)
    (here / "studies" / "small.yaml").write_text("extends: smoke\nepochs: 3\n")
    listed = list_studies(shipped=STUDIES)
    assert list(listed)[:3] == ["broken", "small", "smoke"]
    assert "studies/broken.yaml:1: column 12" in listed["broken"]
    assert listed["smoke"] == listed["small"] == "What is a good beta?"
    assert listed["beta_mnist"].endswith("?")


# ---- YAML ----


def test_numbers_and_words_are_read_as_yaml_1_2():
    text = SMALL.replace("low: 0.1", "low: 1e-1").replace(
        "train: {epochs: 4}", "train: {epochs: 010, learning_rate: 1e-4}"
    )
    study = load(text.replace("What is a good beta?", "no"))
    assert study.space["beta"].low == 0.1
    assert study.fixed["train"].epochs == 10
    assert study.fixed["train"].learning_rate == 1e-4
    assert study.question == "no"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("question: a\nseed: 1\nseed: 2\n", ["studies/x.yaml:3: 'seed' is listed twice"]),
        ("question: {a: [}\n", ["studies/x.yaml:1: column"]),
        ("- question\n", ["studies/x.yaml: got a list"]),
        ("", ["studies/x.yaml: got nothing"]),
        (
            "question: !!python/object/apply:os.system [ls]\n",
            ["studies/x.yaml:1: the tag python/object"],
        ),
        ("? [a, b]\n: 1\n", ["studies/x.yaml:1: a key must be a plain word"]),
    ],
)
def test_what_is_no_study_file(text, parts):
    got = mistakes(text)
    assert all(part in got for part in parts), got


def test_a_file_that_is_not_text(here):
    (here / "studies" / "x.yaml").write_bytes(b"question: \xff\n")
    assert message() == "studies/x.yaml: is not UTF-8 text (byte 10)."


def test_a_range_that_grows_knows_the_limits_of_its_setting():
    search = {
        "learning_rate": {"low": 0.01, "high": 0.5, "log": True, "grow": True},
        "beta": {"low": 1, "high": 2},
    }
    study = load(changed(search=search, compare=None))
    assert study.space["learning_rate"].limits == {"gt": 0.0, "le": 1.0}
    assert study.space.maximum("learning_rate") == 1.0
    assert study.spec()["search"]["learning_rate"]["grow"] is True
    assert "grow" not in study.spec()["search"]["beta"]


def test_a_study_names_others_that_it_begins_with():
    study = load(SMALL + "start: [{study: other}, {beta: 2}]\nlearn_from: another\n")
    assert study.start == (BestOf(study="other", top=5), {"beta": 2.0})
    assert study.learn_from == "another"
    assert study.spec()["start"] == [{"study": "other", "top": 5}, {"beta": 2.0}]
    assert study.spec()["learn_from"] == "another"
    assert "learn_from" not in load(SMALL).spec()
    assert load(SMALL, "learn_from=third").learn_from == "third"


# ---- mistakes, each with its place, the value got and what would be right ----

BAD = """
trian: {}  ⇒  trian: unknown setting | 'train'
train: {epoch: 3}  ⇒  train.epoch: unknown setting | 'epochs'
model: {epochs: 3}  ⇒  model.epochs | belongs under 'train'
epochs: 3  ⇒  epochs: stands here and under 'train'
seeds: 3  ⇒  seeds: could be confirm.seeds or compare.seeds
train: [1]  ⇒  train: got [1] | name: value
question: null  ⇒  question: is missing
question: ''  ⇒  question: got '' | at least 1 character
train: {epochs: many}  ⇒  train.epochs: got 'many' | whole number
train: {epochs: 2.5}  ⇒  train.epochs: got 2.5 | whole number
train: {epochs: true}  ⇒  train.epochs: got true | whole number
train: {ema_decay: null}  ⇒  train.ema_decay: got nothing | number
seed: -1  ⇒  seed: got -1 | greater than or equal to 0
train: {learning_rate: -1}  ⇒  train.learning_rate: got -1 | greater than 0
data: {binarisation: statc}  ⇒  data.binarisation: got 'statc' | Did you mean 'static'
model: {hidden: [5, a]}  ⇒  model.hidden.2: got 'a' | whole number
model: {hidden: [a]}  ⇒  model.hidden.1: got 'a' | whole number
model: {kernel: [5, a]}  ⇒  model.kernel.2: got 'a'
data: {image_size: [5]}  ⇒  data.image_size.2: is missing.
start: [{beta: 1}, {study: other, top: 0}]  ⇒  start.2.top: got 0; must be greater than or equal to 1
start: [{study: other, tops: 3}]  ⇒  start.1.tops: unknown setting | 'top'
start: [{study: 3}]  ⇒  start.1.study: got 3 | text
sampler: random, learn_from: other  ⇒  learn_from: sampler 'random' cannot learn | Drop the entry, or take tpe or gp.
learn_from: ''  ⇒  learn_from: got ''
search: {beta: {low: 1, high: 2, grow: 'yes'}}, compare: null  ⇒  search.beta.grow: got 'yes' | must be true or false
search: {beta: {low: 1, high: 2, grow: true}}, compare: null, sampler: cmaes  ⇒  search.beta.grow: sampler 'cmaes' cannot | Drop `grow`, or take tpe, random, qmc or gp.
sampler: {name: tpee}  ⇒  sampler.name: got 'tpee'; must be cmaes | or tpe.
sampler: {}  ⇒  sampler.name | must be cmaes, curves, gp, grid, qmc, random or tpe
sampler: {name: tpe, startup: 3}  ⇒  sampler.startup: unknown setting | 'startup_trials'
sampler: {name: tpe, startup_trials: 0}  ⇒  sampler.startup_trials: got 0 | greater than or equal to 1
sampler: {name: cmaes}  ⇒  sampler.name | 'cmaes' cannot model 'optimizer'
sampler: gp  ⇒  sampler.name | 'gp' cannot model 'components' | tpe
sampler: grid  ⇒  search.beta | `step`
pruner: {name: medain}  ⇒  pruner.name: got 'medain' | must be hyperband, median
pruner: {name: median, warmup: 2}  ⇒  pruner.warmup | 'warmup_epochs'
pruner: threshold  ⇒  pruner: the threshold is missing | `upper`
pruner: {name: threshold, lower: 5, upper: 4}  ⇒  pruner: got lower 5 | smaller than upper, 4
pruner: {name: patient, inner: {name: median, startup: 1}}  ⇒  pruner.inner.startup | 'startup_trials'
pruner: {name: hyperband, min_epochs: 9}  ⇒  pruner.min_epochs: got 9 | at most the 4 epochs
budget: null  ⇒  budget | at least one of trials, seconds, epochs, stale_trials
budget: {}  ⇒  budget | at least one of trials
budget: {trials: 0}  ⇒  budget.trials: got 0 | greater than or equal to 1
budget: {trails: 3}  ⇒  budget.trails: unknown setting | 'trials'
budget: {seconds: -3}  ⇒  budget.seconds: got -3 | greater than 0
confirm: {top: 3}  ⇒  confirm.seeds: is missing
pruner: median, confirm: {top: 1, seeds: 3, late: 3}  ⇒  confirm.late: got 3; must be 0 | Try pruner: promotion
train: {epochs: 3}, confirm: {top: 1, seeds: 3, late: 2}  ⇒  confirm.late: got 2; must be 0 | enough epochs for a rung
confirm: {top: 1, seeds: 3, late: -1}  ⇒  confirm.late: got -1 | greater than or equal to 0
confirm: {top: 1, seeds: 9, race: true}  ⇒  confirm: got race: true with top: 1 and seeds: 9 | 2 configurations or more and 4 seeds or more
confirm: {top: 5, seeds: 3, race: true}  ⇒  confirm: got race: true with top: 5 and seeds: 3 | Try race: false.
confirm: {top: 5, seeds: 5, race: fast}  ⇒  confirm.race: got 'fast'; must be true or false
compare: {parameters: [optimizer, beta], top: 1, seeds: 1}  ⇒  compare.parameters.2: 'beta' is no searched choice
compare: {parameters: [optimizer, optimizer], top: 1, seeds: 1}  ⇒  compare.parameters.2: 'optimizer' stands there twice
compare: {parameters: [], top: 1, seeds: 1}  ⇒  compare.parameters: got []
compare: {parameter: optimizer, parameters: [optimizer], top: 1, seeds: 1}  ⇒  compare.parameter: unknown setting. Did you mean 'parameters'?
compare: {parameters: [optimiser], top: 1, seeds: 1}  ⇒  compare.parameters.1: 'optimiser' is no searched choice | Searched choices: optimizer, prior
"""  # noqa: E501
"""What is changed in SMALL  ⇒  parts of what is said."""


def rows(table):
    return [line.split("⇒") for line in table.strip().splitlines()]


@pytest.mark.parametrize(("changes", "said"), rows(BAD))
def test_mistakes_in_the_file(changes, said):
    got = message(changed(**yaml.safe_load(f"{{{changes}}}")))
    assert all(part.strip() in got for part in f"x.yaml: {said.strip()}".split("|")), got


SEARCHES = """
⇒  search: nothing is searched
betta: {low: 0, high: 1}  ⇒  search.betta: unknown setting | 'beta'
beta: 3  ⇒  search.beta: got 3 | {low: …, high: …} | {values: […]}
beta: {low: 0, high: 1, stepp: 1}  ⇒  search.beta.stepp: unknown setting | 'step'
beta: {low: 0}  ⇒  search.beta.high: is missing
beta: {low: 2, high: 2}  ⇒  search.beta | got low 2; must be smaller than high, 2
beta: {low: 3, high: 2}  ⇒  search.beta | got low 3; must be smaller than high, 2
beta: {low: 0, high: 2, log: true}  ⇒  search.beta.low: got 0 | above 0
beta: {low: 1, high: 2, log: y}  ⇒  search.beta.log: got 'y' | true or false
beta: {low: 1, high: 2, log: true, step: 0.5}  ⇒  search.beta.step: got 0.5 together with log
beta: {low: 1, high: 2, step: -1}  ⇒  search.beta.step: got -1 | above 0
beta: {low: 0, high: 1, step: 0.3}  ⇒  search.beta.high: must be | 1 is not 0 + n·0.3 | Try 0.9 or 1.2
patience: {low: 1, high: 3, step: 0.5}  ⇒  search.patience.step: got 0.5 | whole number
beta: {low: -1, high: 1}  ⇒  search.beta.low: got -1 | greater than or equal to 0
learning_rate: {low: -0.001, high: 1}  ⇒  search.learning_rate.low: got -0.001 | greater than 0
learning_rate: {low: 0.1, high: 10}  ⇒  search.learning_rate.high: got 10 | less than or equal to 1
components: {low: 0, high: 9}  ⇒  search.components.low: got 0 | greater than or equal to 1
patience: {low: 1.5, high: 3}  ⇒  search.patience.low: got 1.5 | whole number
beta: {low: few, high: 3}  ⇒  search.beta.low: got 'few' | number
beta: {low: 0, high: true}  ⇒  search.beta.high: got true | number
optimizer: {values: []}  ⇒  search.optimizer.values: got []; must have at least 1 item
optimizer: {values: adam}  ⇒  search.optimizer.values: got 'adam' | list
optimizer: {values: [adam, adam]}  ⇒  search.optimizer.values: 'adam' | twice
beta: {values: [1, 1.0]}  ⇒  search.beta.values: 1.0 stands there twice
optimizer: {values: [adam, adamx]}  ⇒  search.optimizer.values.2: got 'adamx' | 'sgd' or 'lion' | Did you mean 'adamax'
latent_size: {low: 2, high: 9}  ⇒  search.latent_size | fixed to 8 under 'model' | Drop one
components: {low: 2, high: 9, when: {prior: mixture}}  ⇒  search.components.when: 'prior' is not searched
beta: {low: 2, high: 9, when: prior}  ⇒  search.beta.when: got 'prior' | name: value
prior: {values: [normal]}, components: {low: 2, high: 9, when: {prior: mixture}}  ⇒  search.components.when.prior: 'prior' never is 'mixture' | 'normal'
patience: {low: 2, high: 4}, beta: {low: 0, high: 1, when: {patience: 5}}  ⇒  search.beta.when.patience: 'patience' never is 5 | 2 to 4
beta: {low: 0, high: 1}, patience: {low: 2, high: 4, when: {beta: 1}}  ⇒  search.patience.when: 'beta' is a continuous range
components: {low: 2, high: 9, when: {prior: mixture}}, prior: {values: [normal, mixture]}  ⇒  search.components.when: 'prior' must stand above 'components'
prior: {values: [normal, mixture], when: {prior: normal}}  ⇒  search.prior.when: 'prior' must stand above 'prior'
prior: {values: [normal, mixture], when: {optimizer: adam}}, optimizer: {values: [adam, adamax], when: {prior: normal}}  ⇒  search.prior.when: 'optimizer' must stand above 'prior'
"""  # noqa: E501
"""The whole search space  ⇒  parts of what is said."""


@pytest.mark.parametrize(("search", "said"), rows(SEARCHES))
def test_mistakes_in_the_search_space(search, said):
    got = message(
        yaml.safe_dump(
            yaml.safe_load(SMALL) | {"search": yaml.safe_load(f"{{{search}}}"), "compare": None},
            sort_keys=False,
        )
    )
    assert all(part.strip() in got for part in f"x.yaml: {said.strip()}".split("|")), got


LOOKALIKES = {
    "indentation": (
        "search:\n  beta",
        "search:\n\u00a0\u00a0beta",
        "5: column 1: got the blank 'no-break",
    ),
    "after a colon": (
        "epochs: 4",
        "epochs:\u00a04",
        "3: column 16: got the blank 'no-break space'",
    ),
    "in a list": (
        "[adam, adamax]",
        "[adam,\u202fadamax]",
        "6: column 29: got the blank 'narrow no-break",
    ),
    "after a value": (
        "[adam, adamax]",
        "[adam\u200b, adamax]",
        "6: column 28: got the blank 'zero width",
    ),
    "a line of its own": (
        "search:",
        "\u3000\nsearch:",
        "4: column 1: got the blank 'ideographic space",
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_blank_that_is_no_space_is_named_in_place_of_the_mistakes_that_it_causes(old, new, said):
    got = mistakes(SMALL.replace(old, new))
    assert got.startswith(f"studies/x.yaml:{said}")
    rule = "which YAML reads as a letter; must be a plain space"
    assert got.endswith(f", {rule}. Replace it by a space, or delete it.")


def test_a_file_of_blanks_that_are_no_spaces_is_no_mapping():
    got = mistakes("question:\u00a0What?\n")
    assert got.startswith("studies/x.yaml:1: column 10: got the blank 'no-break space'")
    got = mistakes("question: What?\nsearch:\u00a0x\n")
    assert got.startswith("studies/x.yaml:2: column 8: got the blank 'no-break space'")


def test_blanks_of_texts_and_comments_are_theirs():
    text = SMALL.replace("a good beta?", "a good beta\u00a0?") + "# a\u00a0comment\n"
    assert load(text).question == "What is a good beta\u00a0?"
    assert "foo" in mistakes(text, "foo=1"), "another mistake is reported as ever"


@pytest.mark.parametrize(
    ("old", "new", "line", "column"),
    [
        ("epochs: 4", "epochs:\t4", 3, 16),
        ("epochs: 4", "epochs: \t4", 3, 17),
        ("[adam, adamax]", "[adam,\tadamax]", 6, 29),
        ("  beta", "\tbeta", 5, 1),
        ("trials: 5}", "trials: 5}\t# few", 9, 20),
    ],
)
def test_a_tab_is_named(old, new, line, column):
    got = mistakes(SMALL.replace(old, new))
    said = f"column {column}: got a tab; must be spaces. Replace the tab by spaces."
    assert got == f"studies/x.yaml:{line}: {said}"


@pytest.mark.parametrize(
    ("question", "left"),
    [
        ("Is beta #1 better?", "'Is beta'"),
        ("Which # of layers is best?", "'Which'"),
        ("#1 or #2?", "nothing"),
        ("# of layers", "nothing"),
    ],
)
def test_a_question_that_a_comment_cuts_short_is_refused(question, left):
    whole = SMALL.replace("What is a good beta?", question)
    assert mistakes(whole) == (
        f"studies/x.yaml:1: question: got {left}, because a space and `#` begin a comment; must be "
        "whole. Put the question in quotes."
    )
    assert load(whole.replace(question, f"'{question}'")).question == question


@pytest.mark.parametrize(
    ("written", "question"),
    [
        ("Is C#7 better?", "Is C#7 better?"),
        ("Is it? # of the draft", "Is it?"),
        ("A comparison  # of the draft", "A comparison"),
        ("# the question of the draft\n  Is it?", "Is it?"),
        ("|  # of the draft\n  Is it #1?", "Is it #1?"),
    ],
)
def test_a_comment_after_a_question_is_one(written, question):
    assert load(SMALL.replace("What is a good beta?", written)).question == question


# ---- all at once, each with its line ----


def test_all_mistakes_of_the_form_are_reported_at_once_with_their_lines():
    text = SMALL.replace("latent_size: 8", "hidden: [8, x]").replace("high: 10,", "high: true,")
    text = text.replace("epochs: 4", "epochs: -4, epoch: 3").replace("trials: 5", "trials: 0")
    assert mistakes(text + "sampler: {name: [tpe]}\n", "foo=1", "seed=-1").splitlines() == [
        "studies/x.yaml: 8 mistakes",
        *mistakes(None, "foo=1", "seed=-1").splitlines()[1:3],
        "studies/x.yaml:2: model.hidden.2: got 'x'; must be a whole number.",
        "studies/x.yaml:3: train.epochs: got -4; must be greater than or equal to 1.",
        "studies/x.yaml:3: train.epoch: unknown setting. Did you mean 'epochs'?",
        "studies/x.yaml:5: search.beta.high: got true; must be a number.",
        "studies/x.yaml:9: budget.trials: got 0; must be greater than or equal to 1.",
        "studies/x.yaml:11: sampler.name: got ['tpe']; must be cmaes, curves, gp, grid, qmc, "
        "random or tpe.",
    ]


def test_the_search_space_is_right_before_others_refer_to_it():
    text = (
        SMALL.replace("values: [normal, mixture]", "values: [normal, normal]")
        + "start: [{prior: normal}]\n"
    )
    assert mistakes(text).splitlines() == [
        "studies/x.yaml:7: search.prior.values: 'normal' stands there twice; give each value once."
    ]


def test_no_more_mistakes_are_listed_than_anybody_reads():
    text = mistakes(changed(baselines={f"b{n}": {"seeds": 0} for n in range(300)})).splitlines()
    assert (text[0], len(text), text[-1]) == ("studies/x.yaml: 300 mistakes", 22, "and 280 more")


# ---- settings without their section ----


def test_settings_need_no_section():
    bare = SMALL.replace(
        "model: {latent_size: 8}\ntrain: {epochs: 4}\n", "latent_size: 8\nepochs: 4\n"
    )
    assert load(bare.replace("budget: {trials: 5}", "trials: 5")).spec() == load(SMALL).spec()
    assert message(bare.replace("epochs: 4", "epochs: many")).startswith(
        "studies/x.yaml: train.epochs: got 'many'"
    )
    assert "x.yaml:3: train.epochs" in mistakes(bare.replace("epochs: 4", "epochs: many"))


# ---- extends ----


def extend(child: str, *overrides: str):
    Path("studies/child.yaml").write_text(child)
    return load(SMALL, *overrides, name="child")


def test_a_study_extends_another():
    study = extend(
        "extends: x\nepochs: 9\nmodel: {hidden: [64]}\nsearch: {beta: {low: 0.5}, components: "
        "{values: [3, 5]}}\n"
        "budget: {seconds: 60}\nsampler: {name: tpe, startup_trials: 3}\ncompare: null\n"
    )
    spec, base = study.spec(), load(SMALL).spec()
    assert (study.name, spec["question"], spec["train"]["epochs"]) == ("child", base["question"], 9)
    assert (spec["model"]["hidden"], spec["model"]["latent_size"]) == ([64], 8)
    assert spec["search"]["beta"] == base["search"]["beta"] | {"low": 0.5}
    assert spec["search"]["components"] == {"kind": "choice", "values": [3, 5]}
    assert list(spec["search"]) == list(base["search"])
    assert (study.budget.trials, study.budget.seconds, study.compare) == (5, 60, None)
    Path("studies/alone.yaml").write_text(study.text)
    assert load(name="alone").spec() | {"name": "child"} == spec


@pytest.mark.parametrize("part", ["pruner", "sampler"])
def test_a_child_may_name_the_rule_of_its_parent(part):
    """Such a study once ended in a RecursionError."""
    name, option = {
        "pruner": ("promotion", "rungs: [1, 2]"),
        "sampler": ("tpe", "startup_trials: 3"),
    }[part]
    Path("studies/parent.yaml").write_text(f"extends: x\n{part}: {{name: {name}, {option}}}\n")
    named, mapped = (
        extend(f"extends: parent\n{part}: {form}\n") for form in (name, f"{{name: {name}}}")
    )
    assert named.spec()[part] == mapped.spec()[part] == load(name="parent").spec()[part]


def test_what_the_child_fixes_or_removes_leaves_the_search_and_what_it_searches_is_not_fixed():
    study = extend(
        "extends: x\nprior: mixture\nsearch: {optimizer: null, latent_size: {values: [2, "
        "4]}}\ncompare: null\n"
    )
    assert study.space.names == ["beta", "components", "latent_size"]
    assert study.space["components"].when == {}
    assert study.fixed["model"].prior == "mixture"


@pytest.mark.parametrize("fixed", ["", "latent_size: 9\n"])
def test_a_parameter_that_leaves_the_search_leaves_the_first_trials(fixed):
    Path("studies/parent.yaml").write_text(
        "extends: x\nsearch: {latent_size: {values: [4, 8]}}\nstart: [{beta: 1, latent_size: 4}]\n"
    )
    study = extend(f"extends: parent\n{fixed}search: {{latent_size: null}}\n")
    assert "latent_size" not in study.space.names
    assert study.start == ({"beta": 1},)
    assert study.fixed["model"].latent_size == (9 if fixed else 20), "20 by default"


def test_what_hangs_on_a_parameter_that_leaves_the_search_goes_by_its_default():
    study = extend("extends: x\nsearch: {prior: null}\n")
    assert study.space.names == ["beta", "optimizer"], (
        "components are of the mixture prior, and the default is the normal one"
    )


def test_overrides_change_what_the_extended_study_says():
    assert extend("extends: x\nepochs: 9\n", "beta=1").space.names == [
        "optimizer",
        "prior",
        "components",
    ]


@pytest.mark.parametrize(
    ("child", "parts"),
    [
        (
            "extends: child\n",
            ["child.yaml:1: extends: got 'child'", "child.yaml → studies/child.yaml"],
        ),
        (
            "extends: [x]\n",
            ["child.yaml:1: extends: got ['x']; must be the name or path of a study"],
        ),
        ("extends: xx\n", ["child.yaml:1: extends: unknown study 'xx'", "Did you mean 'x'?"]),
        (
            "extends: ./nothing.yaml\n",
            ["child.yaml:1: extends: there is no file studies/nothing.yaml"],
        ),
        (
            "extends: x\nepoch: 3\n",
            ["child.yaml:2: epoch: unknown setting. Did you mean 'epochs'?"],
        ),
        (
            "extends: x\nsearch: {beta: {low: 20}}\n",
            ["search.beta: got low 20; must be smaller than high, 10"],
        ),
        (
            "extends: x\nsearch: {prior: {values: [normal]}}\n",
            ["x.yaml:8: search.components.when.prior"],
        ),
    ],
)
def test_mistakes_in_extending(child, parts):
    with pytest.raises(UserError) as caught:
        extend(child)
    assert all(part in str(caught.value) for part in parts), caught.value


# ---- hostile files ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(sampler={"name": [1]}), "sampler.name: got [1]; must be cmaes, curves"),
        (changed(pruner={"name": {"a": 1}}), "pruner.name: got {'a': 1}; must be hyperband"),
        (SMALL.replace("What is a good beta?", "!!timestamp soon"), "the tag timestamp is not read"),  # noqa: E501
        (changed(model={"hidden": [10**12]}), "model.hidden.1: got 1000000000000; must be less than or equal to 16384"),  # noqa: E501
        (SMALL.replace("epochs: 4", f"epochs: {'9' * 5000}"), "at most 40 digits"),
        (SMALL + "a: &a [*a]\n", "an entry repeats itself"),
        (SMALL + "a: " + "[" * 9000 + "]" * 9000, "is nested too deep"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)), "more than 100,000 entries"),  # noqa: E501
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_a_line(text, words):
    assert words in mistakes(text)


# ---- overrides ----


def test_overrides_reach_every_part_and_are_part_of_the_spec():
    study = load(
        None,
        *(
            "train.epochs=7",
            "batch_size=64",
            "seed=5",
            "budget.trials=9",
            "sampler.startup_trials=3",
            "search.beta.low=1e-2",
        ),
        *(
            "pruner.name=percentile",
            "pruner.percentile=10",
            "confirm.top=2",
            "confirm.seeds=3",
            "compare.seeds=4",
        ),
    )
    spec = study.spec()
    assert (spec["train"]["epochs"], spec["train"]["batch_size"], spec["seed"]) == (7, 64, 5)
    assert spec["search"]["beta"]["low"] == 0.01
    assert spec["sampler"]["startup_trials"] == 3
    assert spec["pruner"] == {
        "name": "percentile",
        "percentile": 10.0,
        "startup_trials": 5,
        "warmup_epochs": 0,
    }
    assert (spec["confirm"], spec["compare"]["seeds"]) == ({"top": 2, "seeds": 3}, 4)
    assert study.budget.trials == 9


def test_epochs_alone_are_those_of_training_and_trials_those_of_the_budget():
    study = load(None, "epochs=2", "trials=3")
    assert (study.fixed["train"].epochs, study.budget.epochs, study.budget.trials) == (2, None, 3)


def test_fixing_a_searched_setting_takes_it_out_of_the_search():
    study = load(None, "beta=1")
    assert "beta" not in study.space.names
    assert study.fixed["train"].beta == 1.0


@pytest.mark.parametrize(
    ("value", "searched", "condition"),
    [("mixture", True, {}), ("normal", False, None), ("vamp", False, None)],
)
def test_fixing_what_a_condition_looks_at_settles_the_condition(value, searched, condition):
    study = load(None, f"prior={value}")
    assert ("components" in study.space.names) == searched
    assert not searched or study.space["components"].when == condition


def test_what_depends_on_what_leaves_the_search_leaves_too():
    chain = yaml.safe_load(SMALL)
    chain["search"]["latent_size"] = {"low": 2, "high": 9, "when": {"components": 2}}
    chain["start"] = [
        {"beta": 1.0, "prior": "mixture", "components": 2, "latent_size": 4},
        {"components": 3},
    ]
    study = load(yaml.safe_dump(chain | {"model": {}}, sort_keys=False), "prior=normal")
    assert study.space.names == ["beta", "optimizer"]
    assert study.start == ({"beta": 1.0},)


def test_searching_a_fixed_setting_takes_the_fixed_value_away():
    study = load(None, "search.latent_size={values: [2, 4]}")
    assert study.space["latent_size"].values == (2, 4)


def test_a_new_sampler_starts_from_its_own_defaults():
    text = changed(sampler={"name": "tpe", "startup_trials": 3})
    assert load(text, "sampler.name=random").sampler.name == "random"
    assert load(text, "sampler=qmc").sampler.name == "qmc"
    assert load(text, "sampler.name=tpe").sampler.startup_trials == 10


def test_what_is_kept_decides_no_result_and_may_change():
    study = load(SMALL)
    assert (study.keep.pruned, study.keep.pictures) == ("figures", "all")
    other = load(changed(keep={"pruned": "weights"}), "keep.pictures=last")
    assert (other.keep.pruned, other.keep.pictures) == ("weights", "last")
    assert other.spec() == study.spec()
    assert "keep.pruned: got 'all'" in message(changed(keep={"pruned": "all"}))


OVERRIDES = {
    "foo.bar=1": ["--set foo.bar: unknown section 'foo'"],
    "train.epoch=1": ["--set train.epoch: unknown setting", "'epochs'"],
    "train.epochs.x=1": ["--set train.epochs.x: unknown setting", "'epochs'"],
    "epoch=1": ["--set epoch: unknown setting", "'epochs'"],
    "train=1": ["--set train: 'train' is a section", "train.loss"],
    "epochs": ["--set epochs: must be key=value"],
    "=3": ["--set =3: must be key=value"],
    "epochs=[": ["--set epochs: column 2"],
    "epochs=many": ["--set train.epochs: got 'many'", "whole number"],
    "epochs=": ["--set train.epochs: got nothing"],
    "train.beta=-1": ["--set train.beta: got -1", "greater than or equal to 0"],
    "seeds=3": ["--set seeds: could be confirm.seeds or compare.seeds"],
    "trials=0": ["--set budget.trials: got 0"],
    "budget.trails=0": ["--set budget.trails: unknown setting", "'trials'"],
    "sampler.name=tpee": ["--set sampler.name: got 'tpee'", "or tpe."],
    "sampler.startup=3": ["--set sampler.startup: unknown setting", "'startup_trials'"],
    "sampler.name=cmaes": [
        "--set sampler.name: 'cmaes' cannot model 'optimizer'",
        "--set optimizer=",
    ],
    "pruner.inner.name=median": ["x.yaml: pruner.inner: unknown setting"],
    "search.betta.low=1": ["--set search.betta.low: 'betta' is no setting", "'beta'"],
    "search.beta.low=20": ["x.yaml: search.beta: got low 20; must be smaller than high, 10"],
    "search.beta.low=0": ["--set search.beta.low: got 0; must be above 0 because `log` is true"],
    "search.beta.lo=1": ["--set search.beta.lo: unknown setting", "'low'"],
    "search.prior.values=[normal]": [
        "x.yaml: search.components.when.prior: 'prior' never is 'mixture'"
    ],
    "search.latent_size.low=3": ["x.yaml: search.latent_size.high: is missing"],
    "optimizer=adam": ["compare.parameters.1: 'optimizer' is no searched choice", "compare: null"],
    "question.x=1": ["--set question.x: 'question' is 'What is a good beta?'"],
}


@pytest.mark.parametrize(("override", "parts"), OVERRIDES.items())
def test_mistakes_in_overrides(override, parts):
    got = message(changed(sampler="tpe", pruner="median", confirm={"top": 1, "seeds": 1}), override)
    assert all(part in got for part in parts), got


def test_fixing_everything_leaves_nothing_to_search():
    text = message(None, "compare=null", "beta=1", "optimizer=adam", "prior=normal")
    assert "studies/x.yaml: search: nothing is searched" in text


# ---- the workload's own check ----


def test_check_sees_the_fixed_settings_and_every_bound_and_choice():
    seen = []
    load(check=lambda settings: seen.append(settings))
    assert seen[0]["model"]["latent_size"] == 8
    assert [s["train"]["beta"] for s in seen[1:3]] == [0.1, 10.0]
    assert [s["train"]["optimizer"] for s in seen[3:5]] == ["adam", "adamax"]
    assert [(s["model"]["prior"], s["model"]["components"]) for s in seen[7:]] == [
        ("mixture", 2),
        ("mixture", 16),
    ]


def test_what_check_refuses_is_placed_where_it_was_given():
    def check(settings):
        if settings["model"]["prior"] not in ("normal", "mixture"):
            raise UserError("model.prior", f"unknown prior '{settings['model']['prior']}'.")
        if settings["train"]["beta"] > 5:
            raise ValueError("beta: is too large.")
        if settings["train"]["epochs"] > 50:
            raise ValueError("epochs: too many.")
        if settings["train"]["patience"] > 3:
            raise ValueError("nobody is that patient")

    assert message(check=check) == "studies/x.yaml: search.beta.high: is too large."
    assert message(None, "epochs=99", check=check) == "--set train.epochs: too many."
    assert (
        message(changed(train={"epochs": 99}), check=check)
        == "studies/x.yaml: train.epochs: too many."
    )
    assert (
        message(changed(train={"patience": 9}), check=check)
        == "studies/x.yaml: nobody is that patient"
    )
    load(SMALL, "search.beta.high=3", check=check)
    below = "search.beta.high=3"
    assert message(None, "prior=x", below, check=check) == "--set model.prior: unknown prior 'x'."
    text = changed(
        search={"optimizer": {"values": ["adam", "adamax"]}, "prior": {"values": ["normal", "x"]}}
    )
    assert message(text, check=check) == "studies/x.yaml: search.prior.values.2: unknown prior 'x'."


# ---- another workload ----


# ---- what differs ----


def test_differences_are_told_entry_by_entry():
    old = load().spec()
    assert spec_differences(old, json.loads(json.dumps(old))) == {}
    new = load(
        None,
        "search.beta.high=5",
        "latent_size=9",
        "search.hidden={values: [[64], [64, 64]]}",
        "compare=null",
    ).spec()
    assert spec_differences(old, new) == {
        "model.hidden": ([512, 512], None),
        "model.latent_size": (8, 9),
        "search.beta.high": (10.0, 5.0),
        "search.hidden": (None, {"kind": "choice", "values": [[64], [64, 64]]}),
        "compare": ({"parameters": ["optimizer"], "top": 1, "seeds": 2}, None),
    }


def test_another_wording_of_the_question_is_no_difference():
    assert (
        spec_differences(load().spec(), load(changed(question="Which beta is good?")).spec()) == {}
    )


def test_hyperband_takes_its_epochs_from_the_study():
    assert load(changed(pruner="hyperband")).pruner.max_epochs == 4
    patient = {"name": "patient", "patience": 1, "inner": {"name": "hyperband"}}
    assert load(changed(pruner=patient)).pruner.inner.max_epochs == 4
    searched = changed(
        pruner="hyperband", train={}, search={"epochs": {"low": 3, "high": 27}}, compare=None
    )
    assert load(searched).pruner.max_epochs == 27


@pytest.mark.parametrize("name", sorted({path.stem for path in STUDIES.glob("*.yaml")} - {"smoke"}))
def test_a_shipped_study_starts_with_each_choice_and_trains_three_seeds(name):
    """A value that is never tried where other values do well cannot be compared, and two seeds give
    no interval.
    """
    study = load_study(name, sections=SECTIONS, shipped=STUDIES, epochs="epochs", data="data")
    for parameter in study.space.parameters:
        values = parameter.listed() if parameter.kind == "choice" and not parameter.when else []
        assert {
            value
            for value in values
            if all(point.get(parameter.name) != value for point in study.start)
        } == set()
    repeats = [each for each in (study.confirm, study.compare) if each is not None]
    assert min(each.seeds for each in (*repeats, *study.baselines)) >= 3


# ---- the search of a study that names none ----


@pytest.mark.parametrize(
    ("changes", "overrides", "sampler"),
    [
        ({}, [], "curves"),
        (
            {
                "objectives": ["rate", "distortion"],
                "confirm": None,
                "compare": None,
                "baselines": None,
            },
            [],
            "tpe",
        ),
        ({"learn_from": "other"}, [], "tpe"),
        ({}, ["learn_from=other"], "tpe"),
        (
            {
                "search": {"beta": {"low": 0.1, "high": 10.0, "log": True, "grow": True}},
                "compare": None,
            },
            [],
            "tpe",
        ),
        ({}, ["search.beta.grow=true"], "tpe"),
        ({"sampler": "random"}, [], "random"),
    ],
)
def test_a_study_that_names_no_sampler_predicts_curves_where_that_is_possible(
    here, changes, overrides, sampler
):
    Path("studies/x.yaml").write_text(changed(**{"sampler": None, "pruner": None, **changes}))
    told = {"overrides": overrides, "epochs": "epochs", "metrics": OBJECTIVES}
    study = load_study("x", sections=SECTIONS, shipped=STUDIES, **told)
    assert (study.sampler.name, study.pruner.name) == (sampler, "promotion")
    rests = load_study(
        "x",
        sections=SECTIONS,
        shipped=STUDIES,
        **{**told, "epochs": None, "overrides": ["pruner=none"]},
    )
    assert rests.sampler.name == ("random" if sampler == "random" else "tpe"), (
        "nobody knows the epochs of a trial"
    )


@pytest.mark.parametrize("line", ["question: Which: beta?", "epochs:2"])
def test_a_colon_within_a_text_gets_a_remedy(line):
    assert "and texts with a colon in quotes" in mistakes(f"{line}\nseed: 0\n")
