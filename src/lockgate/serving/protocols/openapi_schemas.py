"""The schemas of the data port's requests and answers, by the name that routes call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from lockgate.serving.log.feedback import COMMENT_LENGTH, FEEDBACK_AT_MOST, VERDICTS, WHO_LENGTH
from lockgate.serving.log.labels import LABEL_LENGTH, LABELS_AT_MOST, LARGEST_WHOLE
from lockgate.serving.log.synced_log import FIRST_YEAR, ID_LENGTH, LARGEST_ROW, LAST_YEAR
from lockgate.serving.model.column_values import FLAGS
from lockgate.serving.protocols.v2_tensors import DATATYPES

Schema: TypeAlias = dict[str, Any]


def _object(required: Sequence[str] = (), **properties: object) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _array(items: object, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


TEXT: Final[Schema] = {"type": "string"}
_YES: Final = {"type": "boolean"}
_NAMES: Final = _array(TEXT)
_SIZE: Final = {"type": "integer", "minimum": 0}
_SHAPE: Final = _array(_SIZE, minItems=1, maxItems=2)
_CELL: Final = {"type": ["number", "string", "null"]}
_COLUMN: Final = _array(_CELL)
_RECORDS: Final = _array({"type": "object", "additionalProperties": _CELL}, minItems=1)
_COLUMNS: Final = {
    "anyOf": [
        {"type": "object", "additionalProperties": _CELL, "minProperties": 1},
        {"type": "object", "additionalProperties": _COLUMN, "minProperties": 1},
        _RECORDS,
    ]
}
_PARAMETERS: Final = _object()
_DATATYPE: Final = {"enum": sorted(DATATYPES)}
_DESCRIBED: Final = _object(
    ("name", "datatype", "shape"), name=TEXT, datatype=TEXT, shape=_array({"type": "integer"}), parameters=_PARAMETERS
)
_TENSOR: Final = _object(
    ("name", "shape", "datatype"),
    name=TEXT,
    shape=_SHAPE,
    datatype=_DATATYPE,
    data={**_array({}), "description": "Flat or nested, null for what is not known; not with binary_data_size."},
    parameters=_object(
        (),
        binary_data_size={**_SIZE, "description": "Bytes of this tensor behind the JSON."},
        content_type={"type": ["string", "null"], "description": "MLServer's hint; `pd_json` is heeded."},
    ),
)
_ASKED: Final = _object(
    ("name",), name=TEXT, parameters=_object((), binary_data={"type": ["boolean", "null"], "description": "As bytes."})
)
_FLAG: Final = _object(("flag", "column", "rows"), flag={"enum": list(FLAGS)}, column=TEXT, rows=_array(_SIZE))
_PARAMS: Final = {
    "oneOf": [{"type": "null"}, _object((), explain={**_YES, "description": "Add each column's contribution."})]
}


def _invocation(form: str, schema: Schema) -> Schema:
    schema = _object((form,), **{form: schema}, params=_PARAMS)
    return {**schema, "additionalProperties": False}


_LABEL: Final = {
    **_object(
        ("prediction_id", "label"),
        prediction_id={**TEXT, "minLength": 1, "maxLength": ID_LENGTH},
        label={
            "anyOf": [
                {**TEXT, "minLength": 1, "maxLength": LABEL_LENGTH},
                {"type": "boolean"},
                {"type": "integer", "minimum": -LARGEST_WHOLE, "maximum": LARGEST_WHOLE},
                {"type": "number", "not": {"type": "integer"}},
            ]
        },
        row={**_SIZE, "maximum": LARGEST_ROW},
        time={
            "type": ["string", "null"],
            "format": "date-time",
            "description": f"When it became known, of the years {FIRST_YEAR} to {LAST_YEAR}; without it: now.",
        },
    ),
    "additionalProperties": False,
}
_FEEDBACK: Final = {
    **_object(
        ("prediction_id", "verdict"),
        prediction_id={**TEXT, "minLength": 1, "maxLength": ID_LENGTH},
        row={**_SIZE, "maximum": LARGEST_ROW},
        verdict={"enum": list(VERDICTS)},
        comment={"type": ["string", "null"], "maxLength": COMMENT_LENGTH, "description": "No personal data, please."},
        who={
            "type": ["string", "null"],
            "maxLength": WHO_LENGTH,
            "description": "Tells people apart, so that the newest word of each counts; kept as a hash alone.",
        },
        time={
            "type": ["string", "null"],
            "format": "date-time",
            "description": f"When it was said, of the years {FIRST_YEAR} to {LAST_YEAR}; without it: now.",
        },
    ),
    "additionalProperties": False,
}
_SPLIT: Final = _object(("columns", "data"), columns={**_NAMES, "uniqueItems": True}, data=_array(_COLUMN), index={})

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": _object(("error",), error=TEXT),
    "Document": _object(("openapi",), openapi=TEXT),
    "Live": _object(("live",), live=_YES),
    "Ready": _object(("ready", "models"), ready=_YES, models=_array(_object(("name", "ready"), name=TEXT, ready=_YES))),
    "ServerMetadata": _object(("name", "version", "extensions"), name=TEXT, version=TEXT, extensions=_NAMES),
    "ModelReady": _object(("name", "ready"), name=TEXT, ready=_YES),
    "ModelMetadata": _object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=TEXT,
        versions=_NAMES,
        platform=TEXT,
        inputs=_array(_DESCRIBED),
        outputs=_array(_DESCRIBED),
        parameters=_object(
            ("task", "classes", "unit"),
            task=TEXT,
            classes={**TEXT, "description": "JSON: an array of names."},
            unit=TEXT,
            row_major={
                **TEXT,
                "description": "JSON: the columns of the tensors `numbers` and `strings` of the row-major form.",
            },
        ),
    ),
    "InferRequest": _object(
        ("inputs",),
        id={"type": ["string", "null"]},
        parameters={
            **_object(
                (),
                explain={"type": ["boolean", "null"], "description": "Add each column's contribution to the answer."},
                binary_data_output={"type": ["boolean", "null"], "description": "Answer every output as bytes."},
            ),
            "type": ["object", "null"],
        },
        inputs=_array(_TENSOR, minItems=1),
        outputs={**_array(_ASKED), "type": ["array", "null"]},
    ),
    "InferResponse": _object(
        ("model_name", "model_version", "id", "parameters", "outputs"),
        model_name=TEXT,
        model_version=TEXT,
        id=TEXT,
        parameters=_object(
            ("model", "release_digest", "arm", "prediction_id"),
            model=TEXT,
            release_digest=TEXT,
            arm=TEXT,
            prediction_id=TEXT,
            flags={**TEXT, "description": "JSON: an array of {flag, column, rows}."},
            fallback={**_YES, "description": "Whether another than the chosen arm answered, because that one failed."},
        ),
        outputs=_array(_TENSOR),
    ),
    "Invocation": {
        "oneOf": [
            _invocation("dataframe_split", _SPLIT),
            _invocation("dataframe_records", _RECORDS),
            _invocation("instances", _COLUMNS),
            _invocation("inputs", _COLUMNS),
        ]
    },
    "Predictions": _object(
        ("predictions",),
        predictions=_array({"type": "object"}, minItems=1),
        flags=_array(_FLAG),
        fallback=_YES,
        explanation=_object(("of", "exact"), of=TEXT, exact=_YES),
        ignored_params=_NAMES,
    ),
    "Labels": _object(("labels",), labels=_array(_LABEL, minItems=1, maxItems=LABELS_AT_MOST)),
    "LabelsAccepted": _object(("accepted",), accepted=_SIZE),
    "Feedback": {
        **_object(("feedback",), feedback=_array(_FEEDBACK, minItems=1, maxItems=FEEDBACK_AT_MOST)),
        "additionalProperties": False,
    },
    "FeedbackAccepted": _object(("accepted",), accepted=_SIZE),
}
