"""The application as it is put together, without a server around it."""

from __future__ import annotations

import asyncio
from threading import enumerate as threads

from service import __version__
from service.api.openapi import document_text
from service.app import create_app
from service.settings import Settings


def test_every_application_documents_the_same() -> None:
    assert document_text(create_app()) == document_text(create_app(Settings(max_rank=3, port=1)))


def test_the_document_has_the_version_of_the_package() -> None:
    assert create_app().openapi()["info"]["version"] == __version__


def test_nothing_is_started_before_the_lifespan_and_nothing_is_left_after_it() -> None:
    def drawing() -> list[str]:
        return [thread.name for thread in threads() if thread.name.startswith("draw")]

    async def live() -> list[str]:
        async with app.router.lifespan_context(app):
            assert app.state.shared.broken is None
            assert app.state.shared.limits == settings.limits
            return drawing()

    settings = Settings(threads=2, max_tensors=7)
    before = drawing()
    app = create_app(settings)

    assert drawing() == before
    assert len(asyncio.run(live())) == len(before) + 2
    assert drawing() == before
