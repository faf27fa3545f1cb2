"""Makes the JSON Schema of study files, for editors that complete and check YAML."""

from typing import Any

from sweeps.study.start import BestOf
from sweeps.study.study_model import Sections, study_model


def study_schema(sections: Sections) -> dict[str, Any]:
    """Make the JSON Schema of a workload's study files, for editors that complete and check YAML.

    A setting is described once, in its section; everywhere else the schema refers to that
    description.
    """
    schema = study_model(tuple(sections.items())).model_json_schema()
    definitions = schema["$defs"]
    references = {
        name: f"#/$defs/{model.__name__}/properties/{name}"
        for model in sections.values()
        for name in model.model_fields
    }
    for holder in (schema, definitions["Settings"]):
        for name in references.keys() & holder["properties"].keys():
            holder["properties"][name] = {"$ref": references[name]}
    # Settings of parts of the user's own, `Class.name`, in sections that take them; they may stand
    # wherever a setting may.
    if takers := [definitions[m.__name__] for m in sections.values() if m.model_config.get("extra") == "allow"]:
        for holder in (schema, definitions["Settings"], definitions["Search"], *takers):
            holder["patternProperties"] = {r"^\w+\.\w+$": {}}
    for name, reference in references.items():
        definitions[f"{name}_choice"]["properties"]["values"]["items"] = {"$ref": reference}
    for name, definition in definitions.items():
        if not name.endswith("_choice") and name != BestOf.__name__:
            definition.pop("required", None)  # a study that extends another may give a part of it
    schema["anyOf"] = [{"required": ["extends"]}, {"required": ["question", "search"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_plain(schema)}


def _plain(schema: Any) -> Any:
    """Return the schema with each description on one line, and without the titles that pydantic
    makes of names.
    """
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if isinstance(schema, dict):
        kept = {k: v for k, v in schema.items() if k != "title" or not isinstance(v, str)}
        if isinstance(text := kept.get("description"), str):
            kept["description"] = " ".join(text.split())
        return {key: _plain(value) for key, value in kept.items()}
    return schema
