"""A timing launch by a worker: one fresh process of an environment that need not have pytest."""

from __future__ import annotations

from bnsuite.launch.items import Outcomes, failed
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import StartAnswer, TimedCaseAnswer
from bnsuite.launch.process.worker import START_UP, START_UP_S, RequestFailedError, Worker
from bnsuite.record.schema import Outcome, Status


def launch_worker(ids: list[str], worker: Worker, *, device: str, timeout_s: float) -> Outcomes:
    """Measures `ids` in one fresh process of `worker` and yields each case's timing, or its failure, as it comes.

    A case that raises, hangs or kills the process is yielded as failed, and ends the launch, as one by pytest does.
    Raises ChildError if the process ends before it has begun any case.
    """
    try:
        try:
            worker.ask({"do": "start"}, StartAnswer, START_UP_S, f"{START_UP} torch")
        except RequestFailedError as error:
            raise ChildError(str(error)) from error
        for name in ids:
            request = {"do": "time_case", "case": name, "device": device}
            try:
                answer = worker.ask(request, TimedCaseAnswer, timeout_s)
            except (ChildError, RequestFailedError) as error:
                yield name, failed(str(error))
                return
            if answer.timing is None:
                yield name, Outcome(status=Status.SKIPPED, reason=answer.skipped)
            else:
                yield name, answer.timing
    finally:
        worker.end()
