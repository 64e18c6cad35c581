"""The server without its transport: what is served, how it is answered, what is kept and counted of it."""

from __future__ import annotations

from typing import Final

from lockgate.errors import BadInput
from lockgate.serving.answering import Answering, Prediction
from lockgate.serving.log.feedback import FeedbackLog, feedback_folder
from lockgate.serving.log.labels import LabelLog
from lockgate.serving.log.prediction_log import PredictionLog
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.fence import Fence
from lockgate.serving.model.signature import load_public_key
from lockgate.serving.options import ServerOptions
from lockgate.serving.routing.control import Control, bundle_opener
from lockgate.serving.routing.router import Choice, Route, Router
from lockgate.serving.routing.state import RoutingFile
from lockgate.serving.routing.sticky import entity_text
from lockgate.serving.tokens import check_bearer, read_token
from lockgate.serving.watch.health import Health
from lockgate.serving.watch.metrics import Metrics

__all__ = ["Prediction", "Service"]


class Service:
    """One process's models, log and counters.

    Attributes:
        options: How it was started.
        router: What is served.
        control: Changes it.
        answering: Answers what was routed.
        predict: Its `Answering.predict`.
        shadows: Answer copies of requests.
        metrics: Counts.
        log: Keeps.
        labels: Keeps what turned out to be true.
        feedback: Keeps what people say.
        health: Says whether requests should be sent here.
    """

    def __init__(self, options: ServerOptions) -> None:
        """Take the state folder and start the log; nothing is loaded yet.

        Raises:
            BadInput: An option names something that is not there or not usable.
        """
        self.options: Final = options
        if not options.bundles.is_dir():
            raise BadInput(f"bundle store {options.bundles} is not a folder; give the folder that holds the bundles")
        public_key = load_public_key(options.public_key)
        self._token = read_token(options.admin_token_file)
        given = options.feedback_token_file
        self._feedback_token = None if given is None else read_token(given, "feedback")
        # a worker's parent owns the state folder and keeps the routing
        self._file = None if options.worker else RoutingFile(options.state, options.environment)
        self.router: Final = Router()
        self.metrics: Final = Metrics()
        self.health: Final = Health(self.router, max_memory_bytes=options.max_memory_mb * 1_000_000)
        self._fence = Fence(options.limits.request_timeout_s)
        self.control: Final = Control(
            self.router,
            bundle_opener(options.bundles, public_key, self._fence),
            self._file,
            on_published=lambda route: self.metrics.switches.update((route.model,)),
        )
        self.log: Final = PredictionLog(
            options.state / "predictions",
            worker=options.worker,
            flush_s=options.log_flush_s,
            segment_bytes=options.log_segment_bytes,
        )
        self.labels: Final = LabelLog(options.state / "labels", worker=options.worker)
        self.feedback: Final = FeedbackLog(feedback_folder(options.state), worker=options.worker)
        self.answering: Final = Answering(self.router, self.metrics, self.log, options)
        self.predict: Final = self.answering.predict
        self.shadows: Final = self.answering.shadows

    async def restore(self) -> None:
        """Load what was routed when the server last ran, see `Control.restore`."""
        await self.control.restore()

    def authorize(self, header: str | None, what: str = "this") -> None:
        """Refuse a request without the admin token.

        Args:
            header: Its `Authorization`.
            what: What needs it, for the message.

        Raises:
            RequestRefused: The token is absent or wrong.
        """
        check_bearer(self._token, header, what)

    def authorize_feedback(self, header: str | None) -> None:
        """Refuse feedback without the token of feedback, or the admin's.

        Raises:
            RequestRefused: The token is absent or wrong.
        """
        check_bearer(self._token, header, "feedback", narrower=self._feedback_token)

    def choose(
        self, model: str | None, version: str | None, columns: Columns, entity: str | None, tag: str | None = None
    ) -> Choice:
        """Return what answers a request.

        Args:
            model: The model that was asked for; None: the only one.
            version: The bundle that was asked for; None: whatever the routing says.
            columns: The request; holds the entity where the contract names a column for it and there is one row.
            entity: The caller's own key, which goes before the column's.
            tag: The arm that was asked for, by name or tag.

        Raises:
            RequestRefused: No such model, arm or version is routed, or it is not loaded.
        """
        route = self.router.find(model)
        return route.choose(entity or _entity(route, columns), tag=tag, version=version)

    def problems(self) -> list[str]:
        """Return why the server is not ready; empty when it is."""
        return self.health.problems()

    def close(self) -> None:
        """Write out the log and give the state folder up."""
        self.answering.close()
        self.log.close()
        self.labels.close()
        self.feedback.close()
        self._fence.close()
        if self._file is not None:
            self._file.close()


def _entity(route: Route, columns: Columns) -> str | None:
    """Return the value of the contract's entity column in a request of one row."""
    name = route.arms[0].model.contract.entity if route.arms else None
    values = () if name is None else columns.get(name, ())
    return entity_text(values[0]) if isinstance(values, list) and len(values) == 1 else None
