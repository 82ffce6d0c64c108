"""Python made of the contract, as a user would make it; and the server that the tests talk to."""

import importlib
import os
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"


def generate():
    """The modules that protoc makes of proto/."""
    out = tempfile.mkdtemp(prefix="tidings-e2e-grpc-")
    args = ["protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", "tidings/v1/push.proto"]
    if protoc.main(args) != 0:
        sys.exit("protoc does not take the contract")
    sys.path.insert(0, out)
    return importlib.import_module("tidings.v1.push_pb2"), importlib.import_module("tidings.v1.push_pb2_grpc")


pb, pb_grpc = generate()

TARGET = os.environ["GRPC_TARGET"]
KEY = os.environ["GRPC_KEY"]
NAMESPACE = "demo"


def channel(*options):
    roots = os.environ.get("GRPC_ROOTS")
    if not roots:
        return grpc.insecure_channel(TARGET, options)
    credentials = grpc.ssl_channel_credentials(Path(roots).read_bytes())
    return grpc.secure_channel(TARGET, credentials, options)


def key(key=KEY):
    return (("authorization", f"Bearer {key}"),)


def to_all(**more):
    return pb.Push(to=pb.Target(all=True), **more)


def to_nobody(**more):
    """What is pushed by the thousand."""
    return pb.Push(to=pb.Target(rooms=["an empty one"]), **more)


def push(**more):
    return pb.PushRequest(namespace=NAMESPACE, push=to_all(**more))
