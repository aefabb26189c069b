"""Teaches heads from their examples, one after the other, and keeps what was taught or throws it away."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from engines.errors import HeadError
from engines.linear_heads.manifest import FILE_NAME
from engines.linear_heads.storage import check_replaceable, open_head
from engines.storage.staging import staged
from server.errors import InvalidError, NotFoundError, NotReadyError, OverloadedError
from server.serving.service import Service
from server.teaching.examples import Examples
from server.teaching.process import TeachingProcess, missing

_log = logging.getLogger(__name__)
_RETRY_S = 5


@dataclass(slots=True)
class Lesson:
    """The state of one head that is taught: its process while it runs, and why the last one failed."""

    process: TeachingProcess | None = None
    error: str | None = None


class Teacher:
    """What is in ``directory``: for each head its ``examples``, and its ``draft`` until it is kept or thrown away.

    Invariants: all attributes belong to the event loop. At most one process runs, that of ``_task``. A draft is in
    ``service.drafts`` from the end of its process on.
    """

    def __init__(self, service: Service, directory: Path) -> None:
        self.examples = Examples(directory)
        self.lessons: dict[str, Lesson] = {}
        self._service = service
        self._directory = directory
        self._task: asyncio.Task[None] | None = None
        # For one change at a time: of examples, so that together they keep to what is accepted, and of drafts.
        self.changing = asyncio.Lock()

    async def load(self) -> None:
        """Offer the drafts that an earlier process has left."""
        for head in await asyncio.to_thread(self.examples.heads):
            if (self._draft(head) / FILE_NAME).is_file():
                await self._offer(head)

    async def close(self) -> None:
        """Stop the process that runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def start(self, head: str) -> None:
        """Begin to teach. Raises InvalidError, NotReadyError, OverloadedError (another head is being taught)."""
        if (lacking := missing()) is not None:
            raise NotReadyError(lacking, retry_after_s=_RETRY_S)
        if self._task is not None and not self._task.done():
            raise OverloadedError("a head is being taught already", retry_after_s=_RETRY_S)
        if not await asyncio.to_thread(self.examples.of, head):
            raise InvalidError(f"head {head} has no examples", field="head")
        lesson = self.lessons[head] = Lesson()
        await self._forget(head)
        try:
            lesson.process = await TeachingProcess.start(self._arguments(head))
        except OSError as error:
            raise OverloadedError(f"cannot start: {error.strerror}", retry_after_s=_RETRY_S) from None
        self._task = asyncio.create_task(self._teach(head, lesson, lesson.process), name="teach")

    async def keep(self, head: str) -> None:
        """Serve the draft from now on, in the place of the head of that name.

        Raises:
            NotFoundError: there is no draft.
            InvalidError: something else has the place of the head.
            OverloadedError: the disk failed.
        """
        source, target = self._taught(head), self._service.settings.heads / head
        try:
            await asyncio.to_thread(_copied, source, target)
        except HeadError as error:
            raise InvalidError(str(error), field="head") from None
        except OSError as error:
            raise OverloadedError(f"cannot write {target}: {error.strerror}", retry_after_s=_RETRY_S) from None
        _log.info("head kept", extra={"head": head})
        await self.discard(head)

    async def discard(self, head: str) -> None:
        """Throw the draft away. Raises NotFoundError."""
        self._taught(head)
        await self._forget(head)

    def _arguments(self, head: str) -> list[str]:
        bundle = self._service.settings.models[0].path
        place, draft = self.examples.place(head), self._draft(head)
        kept = self._directory / ".features"
        return [head, str(place), "--bundle", str(bundle), "--heads", str(draft.parent), "--cache", str(kept)]

    async def _teach(self, head: str, lesson: Lesson, process: TeachingProcess) -> None:
        try:
            said = await process.finished()
        finally:
            lesson.process = None
        if await asyncio.to_thread(self._draft(head).is_dir):
            await self._offer(head)
        else:
            lesson.error = said
        _log.info("head taught", extra={"head": head, "error": lesson.error})

    async def _offer(self, head: str) -> None:
        try:
            self._service.drafts[draft_name(head)] = await asyncio.to_thread(open_head, self._draft(head))
        except HeadError as error:
            self.lessons.setdefault(head, Lesson()).error = str(error)

    async def _forget(self, head: str) -> None:
        self._service.drafts.pop(draft_name(head), None)
        await asyncio.to_thread(shutil.rmtree, self._draft(head).parent, ignore_errors=True)

    def _draft(self, head: str) -> Path:
        return self.examples.place(head).parent / "draft" / head

    def _taught(self, head: str) -> Path:
        if draft_name(head) not in self._service.drafts:
            raise NotFoundError(f"head {head} was not taught, or is kept already", field="head")
        return self._draft(head)


def draft_name(head: str) -> str:
    """What to ask for as ``head`` to try a draft; no head in service can have this name."""
    return f"{head}:new"


def _copied(source: Path, target: Path) -> None:
    """Write aside and rename: the two may be on different disks. Raises OSError, HeadError."""
    check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as directory:
        shutil.copytree(source, directory, dirs_exist_ok=True)
