"""The path under which a reverse proxy offers the server."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware for a server that clients find under `root`, such as `/ddpm`.

    The proxy may strip the prefix or leave it: what follows sees the path that the client asked for
    and, as ASGI has it, which part of it is the prefix.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app = app
        self.root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, raw_path = scope["path"], scope["raw_path"]
            if path == self.root:
                path, raw_path = f"{path}/", raw_path + b"/"
            elif not path.startswith(f"{self.root}/"):
                path, raw_path = self.root + path, self.root.encode() + raw_path
            # In place: those around this middleware look into the same scope for the route.
            scope.update(root_path=self.root, path=path, raw_path=raw_path)
        await self.app(scope, receive, send)
