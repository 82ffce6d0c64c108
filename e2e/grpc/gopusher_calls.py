"""Every call of gopusher, by a client that was generated from its contract. One line for each answer."""

import importlib
import os
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"

out = tempfile.mkdtemp(prefix="tidings-e2e-gopusher-")
args = ["protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", "gopusher/rpc.proto"]
if protoc.main(args) != 0:
    sys.exit("protoc does not take the contract")
sys.path.insert(0, out)
pb = importlib.import_module("gopusher.rpc_pb2")
stubs = importlib.import_module("gopusher.rpc_pb2_grpc")

key = (("authorization", f"Bearer {os.environ['GRPC_KEY']}"),)

with grpc.insecure_channel(os.environ["GRPC_TARGET"]) as channel:
    rpc = stubs.RpcStub(channel)

    def call(name, request, show):
        try:
            print(name, show(getattr(rpc, name)(request, metadata=key, timeout=10)))
        except grpc.RpcError as error:
            print(name, error.code().name)

    def pushed(reply):
        return f"{reply.code} {reply.message}"

    call("Push", pb.PushRequest(**{"from": "py"}, to=["ann"], content="by gRPC"), pushed)
    call("Push", pb.PushRequest(to=["ann"], appID="app", content="by gRPC, for one application"), pushed)
    call("System", pb.SystemRequest(), lambda reply: f"{reply.cpuNum > 0} {reply.clientNum} {reply.groupNum}")
    for card in ("ann", "bob"):
        call("IsOnline", pb.IsOnlineRequest(cardID=card), lambda reply: reply.result)
    for card in ("ann", "bob"):
        call("Group", pb.GroupRequest(cardID=card), lambda reply: reply.clientNum)
    call("Push", pb.PushRequest(to=[""], content="to nobody"), pushed)
