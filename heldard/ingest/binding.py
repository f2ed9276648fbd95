"""Who may say what about which frame: a post is bound to its credential, and to its frame ticket where it has one."""

from __future__ import annotations

from heldard.api.endpoint import Principal
from heldard.errors import ForbiddenError
from heldard.ingest.model import BatchPost
from heldard.ingest.service import Binding


class Binder:
    """Turns a post and its credential into a binding, or refuses it."""

    async def bind(self, principal: Principal, post: BatchPost) -> Binding:
        """Raises ForbiddenError for a camera outside the credential's scope."""
        if not principal.sees(post.camera_id):
            raise ForbiddenError("that camera is outside this credential's scope", code="out_of_scope")
        return Binding(post.camera_id, post.task_type, post.frame_id or None, principal.id)
