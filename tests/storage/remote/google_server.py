"""Google Cloud Storage's protocol on the loopback: an emulator, and the precondition it lacks.

`python -m tests.storage.remote.google_server PORT BUCKET`. The emulator stores any upload; the real
service answers 412 to one with `ifGenerationMatch=0` where there is an object of that name. It
serves one request at a time, so that looking and storing are one step here too.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

_store = objects._multipart_upload


def _store_unless_there(request: Any, response: Any, storage: Any) -> None:
    if request.query.get("ifGenerationMatch") == ["0"]:
        try:
            storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
        except NotFound:
            pass
        else:
            response.status = HTTPStatus.PRECONDITION_FAILED
            response.json({"error": {"code": 412, "message": "a condition you set did not hold"}})
            return
    _store(request, response, storage)


if __name__ == "__main__":
    objects._multipart_upload = _store_unless_there
    create_server("127.0.0.1", int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).run()
