"""Google Cloud Storage's XML protocol on the loopback, with a bucket `bucket`.

`python -m tests.storage.remote.google_server PORT`. It is S3's protocol but for what is changed
here, so moto's server speaks it: a bearer signs a request; a condition is one on the generation of
an object, which is 0 of none; and to delete an object that is not there is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.test import Client

SIGNED = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"
inner = DomainDispatcherApplication(create_backend_app)


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request."""
    environ["HTTP_AUTHORIZATION"] = f"{SIGNED}, SignedHeaders=host, Signature=0"
    if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
        environ["HTTP_IF_NONE_MATCH"] = "*"
    if environ["REQUEST_METHOD"] == "DELETE":
        there = Client(inner).head(environ["PATH_INFO"], headers={"Host": environ["HTTP_HOST"]})
        if there.status_code == 404:
            start("404 Not Found", [("Content-Length", "0")])
            return []
    return inner(environ, start)


if __name__ == "__main__":
    Client(inner).put("/bucket", headers={"Host": f"127.0.0.1:{sys.argv[1]}"})
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
