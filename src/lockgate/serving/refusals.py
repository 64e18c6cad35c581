"""Why a request is refused: the caller's fault, said with the field's name.

The data plane raises these; only the HTTP modules know which status each reason becomes.
"""

from __future__ import annotations

from enum import StrEnum

from lockgate.errors import BadInput


class Reason(StrEnum):
    """Why a request was refused; also the label of the `lockgate_refused_total` counter."""

    MALFORMED = "malformed"
    MISSING_COLUMN = "missing_column"
    UNKNOWN_COLUMN = "unknown_column"
    WRONG_TYPE = "wrong_type"
    NULL_NOT_ALLOWED = "null_not_allowed"
    OUT_OF_FLOAT32 = "out_of_float32"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_CATEGORY = "unknown_category"
    UNEQUAL_LENGTHS = "unequal_lengths"
    NO_ROWS = "no_rows"
    TOO_MANY_ROWS = "too_many_rows"
    NO_FINITE_ANSWER = "no_finite_answer"
    NOT_EXPLAINABLE = "not_explainable"
    UNKNOWN_OUTPUT = "unknown_output"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_ARM = "unknown_arm"
    UNKNOWN_PATH = "unknown_path"
    WRONG_METHOD = "wrong_method"
    UNSUPPORTED_MEDIA = "unsupported_media"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    BODY_TOO_LARGE = "body_too_large"
    READ_TIMEOUT = "read_timeout"
    OVERLOADED = "overloaded"
    UNAUTHORIZED = "unauthorized"
    NOT_LOADED = "not_loaded"


class RequestRefused(BadInput):
    """A request that cannot be answered as it is.

    Attributes:
        reason: The kind of refusal.
    """

    @property
    def reason(self) -> Reason:
        """The kind of refusal."""
        return Reason(str(self.data["reason"]))


def refuse(reason: Reason, message: str) -> RequestRefused:
    """Make a refusal; its reason is data, so that it survives a pickle round trip."""
    return RequestRefused(message, reason=reason.value)
