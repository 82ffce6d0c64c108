"""Streams that nobody ends: says what they end with, when the server stops. A line for each thing that happens."""

import queue
import sys
import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from contract import NAMESPACE, channel, key, pb, pb_grpc, to_all


def say(*words):
    # In one piece: two threads say something at once.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def until_the_end(name, stream):
    try:
        for answer in stream:
            say(name, getattr(answer, "correlation", None) or getattr(answer, "status", ""))
        say(name, "OK")
    except grpc.RpcError as error:
        say(name, error.code().name)


with channel() as connection:
    outgoing = queue.Queue()
    outgoing.put(pb.PushStreamRequest(correlation="first", namespace=NAMESPACE, push=to_all()))
    pushes = pb_grpc.PushServiceStub(connection).PushStream(iter(outgoing.get, None), metadata=key())
    watch = health_pb2_grpc.HealthStub(connection).Watch(health_pb2.HealthCheckRequest())
    threads = [threading.Thread(target=until_the_end, args=each) for each in (("pushes", pushes), ("health", watch))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outgoing.put(None)
