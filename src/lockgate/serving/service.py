"""The server without its transport: routes models, answers columns, keeps the log and the counters."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import msgspec

from lockgate.core.ids import Digest
from lockgate.errors import BadInput, IntegrityError
from lockgate.serving.bundle import UnknownBundle, open_bundle
from lockgate.serving.columns import Columns
from lockgate.serving.dataplane import Answer, ServedModel, load
from lockgate.serving.metrics import Metrics
from lockgate.serving.options import ServerOptions
from lockgate.serving.prediction_log import PredictionLog, Record
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.router import Arm, Desired, Route, Router, already_served, make_route
from lockgate.serving.signature import load_public_key
from lockgate.serving.state import RoutingFile

logger = logging.getLogger(__name__)

INLINE_ROWS = 32  # ours: up to about 0.3 ms of ONNX Runtime, cheaper than a thread's hand-over and too short to stall


class Prediction(msgspec.Struct, frozen=True):
    """An answer with where it came from.

    Attributes:
        id: Unique; the answer, its log row and later its label carry it.
        arm: What answered.
        answer: What it said.
    """

    id: str
    arm: Arm
    answer: Answer


class Service:
    """One server's models, log and counters."""

    def __init__(self, options: ServerOptions) -> None:
        """Take the state folder and start the log; nothing is loaded yet.

        Raises:
            BadInput: An option names something that is not there or not usable.
        """
        self.options: Final = options
        if not options.bundles.is_dir():
            raise BadInput(f"bundle store {options.bundles} is not a folder; give the folder that holds the bundles")
        self._public_key = load_public_key(options.public_key)
        self._file = RoutingFile(options.state, options.environment)
        self.router: Final = Router()
        self.metrics: Final = Metrics()
        self.log: Final = PredictionLog(
            options.state / "predictions", flush_s=options.log_flush_s, segment_bytes=options.log_segment_bytes
        )
        self._changing = asyncio.Lock()
        self._batches = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._id_prefix = f"{time.time_ns() // 1_000_000:x}{os.urandom(5).hex()}"
        self._id_count = 0

    # -- routing -----------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Load what was routed when the server last ran; what does not verify any more is routed and not ready.

        Raises:
            IntegrityError: The state on disk cannot be read.
            ConfigError: It belongs to another environment.
        """
        routes = []
        for model, desired in self._file.load().items():
            loaded, refused = await asyncio.to_thread(self._load, model, desired, {})
            routes.append(make_route(model, desired, loaded, _reasons(refused)))
        self.router.publish(*routes)
        for route in routes:
            logger.info("restored model %s: %s", route.model, route.to_json())
        gc.collect()
        gc.freeze()  # what is alive now lives on: collections need not walk it

    async def put_routing(self, model: str, *, sequence: int, champion: Digest, previous: Digest | None) -> Route:
        """Put a routing in place without dropping a request, and return what is really served.

        The champion must load and prove its golden answers; a previous one that does not is reported in the answer
        and never stands in the way of a rollback.

        Raises:
            LedgerConflict: A higher sequence was accepted before.
            UnknownBundle: There is no such champion in the store.
            IntegrityError: The champion is refused; says why.
            OSError: The routing could not be kept on disk; what was served before still is.
        """
        async with self._changing:
            current = self.router.table.get(model)
            now = datetime.now(UTC)
            asked = Desired(sequence=sequence, champion=champion, previous=previous, since=now)
            if current is not None and already_served(current, asked):
                if not current.refused:
                    return current
                asked = current.desired  # the same again: try once more to load what is missing
            warm = {} if current is None else current.loaded
            loaded, refused = await asyncio.to_thread(self._load, model, asked, warm)
            if champion not in loaded:
                logger.error("model %s: sequence %d refused: %s", model, sequence, refused[champion])
                raise refused[champion]
            wanted = {name: route.desired for name, route in self.router.table.items()} | {model: asked}
            await asyncio.to_thread(self._file.save, wanted)
            route = make_route(model, asked, loaded, _reasons(refused))
            self.router.publish(route)
            self.metrics.switches[model] += 1
            logger.info("model %s: sequence %d, champion %s, previous %s", model, sequence, champion, previous)
            return route

    def _load(
        self, model: str, desired: Desired, warm: Mapping[Digest, ServedModel]
    ) -> tuple[dict[Digest, ServedModel], dict[Digest, BadInput | IntegrityError]]:
        """Return what could be loaded of a desired routing, and why the rest could not."""
        loaded: dict[Digest, ServedModel] = {}
        refused: dict[Digest, BadInput | IntegrityError] = {}
        for digest in (desired.champion, desired.previous):
            if digest is None or digest in loaded:
                continue
            try:
                loaded[digest] = warm.get(digest) or self._open(model, digest)
            except (UnknownBundle, IntegrityError) as reason:
                refused[digest] = reason
                logger.error("model %s: bundle %s refused: %s", model, digest, reason)  # noqa: TRY400 - the message says it all
        return loaded, refused

    def _open(self, model: str, digest: Digest) -> ServedModel:
        bundle = open_bundle(self.options.bundles, digest, self._public_key)
        if bundle.contract.model != model:
            raise IntegrityError(f"bundle {digest} is one of model {bundle.contract.model!r}, not of {model!r}")
        return load(bundle)

    # -- answering ---------------------------------------------------------------------------------------------------

    def choose(
        self, model: str | None, version: str | None, columns: Columns, entity: str | None
    ) -> tuple[Arm, str | None]:
        """Return what answers a request, and the entity that keyed the choice.

        Args:
            model: The model that was asked for; None: the only one.
            version: The bundle that was asked for; None: whatever the routing says.
            columns: The request; holds the entity where the contract names a column for it and there is one row.
            entity: The caller's own key, which goes before the column's.

        Raises:
            RequestRefused: No such model or version is routed, or it is not loaded.
        """
        route = self.router.find(model)
        entity = entity or _entity(route, columns)
        arm = route.choose(entity)
        if version is None or version == arm.model.digest:
            return arm, entity
        for other in route.arms:
            if other.model.digest == version:
                return other, entity
        served = ", ".join(each.model.digest for each in route.arms)
        raise refuse(
            Reason.UNKNOWN_VERSION, f"version {version!r} of model {route.model!r} is not routed; there are: {served}"
        )

    async def predict(self, arm: Arm, columns: Columns, *, entity: str | None, started: float) -> Prediction:
        """Answer a request, count it and log it.

        Args:
            arm: What answers, from `choose`.
            columns: Values by column name.
            entity: What keyed the routing.
            started: `time.perf_counter()` when the request's headers were there.

        Raises:
            RequestRefused: The request does not fit the contract.
        """
        model = arm.model
        limit = self.options.limits.rows
        if len(next(iter(columns.values()), ())) <= INLINE_ROWS:
            answer = model.answer(columns, limit)
        else:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._batches, model.answer, columns, limit)
        self._id_count += 1
        prediction = Prediction(f"{self._id_prefix}-{self._id_count:x}", arm, answer)
        self._record(prediction, columns, entity, time.perf_counter() - started)
        return prediction

    def _record(self, prediction: Prediction, columns: Columns, entity: str | None, seconds: float) -> None:
        arm, answer = prediction.arm, prediction.answer
        contract = arm.model.contract
        name = contract.model
        logged = self.options.log_inputs and contract.log_inputs
        self.metrics.answered(name, arm.name, answer.rows, answer.flags, seconds)
        self.log.append(
            Record(
                time.time(),
                prediction.id,
                name,
                arm.model.digest,
                arm.name,
                entity,
                answer.rows,
                columns if logged else None,
                answer.outputs,
                answer.flags,
                int(seconds * 1e6),
            )
        )

    # -- health ------------------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Return why the server is not ready: one line a routed model that is not loaded."""
        return [route.problem for route in self.router.table.values() if not route.ready]

    def close(self) -> None:
        """Write out the log and give the state folder up."""
        self._batches.shutdown()
        self.log.close()
        self._file.close()


def _entity(route: Route, columns: Columns) -> str | None:
    """Return the value of the contract's entity column in a request of one row."""
    name = route.arms[0].model.contract.entity if route.arms else None
    values = () if name is None else columns.get(name, ())
    return str(values[0]) if len(values) == 1 and values[0] is not None else None


def _reasons(refused: Mapping[Digest, BadInput | IntegrityError]) -> dict[Digest, str]:
    return {digest: reason.message for digest, reason in refused.items()}
