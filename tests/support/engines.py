"""The Docker engine of the tests that take one, and the images that they build there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from programs import unavailable

TAG = f"test-{os.getpid()}"
"""Of this process's images: another's tests may build theirs at the same time."""


@contextmanager
def running_engine() -> Iterator[docker.DockerClient]:
    """A Docker engine, without these images afterwards. Where none answers, the tests are skipped, or fail where
    CERTREPLAY_REQUIRE_DOCKER is set."""
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        unavailable(f"no Docker engine answers ({error}); start one to run these tests")
    yield client
    for image in client.images.list(filters={"reference": f"certreplay-*:{TAG}"}):
        client.images.remove(image.tags[0], force=True)
