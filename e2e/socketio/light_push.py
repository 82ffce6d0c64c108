"""A client of light-push in Python, by the Socket.IO client whose protocol is 4: joins a room, tells what it is pushed, gives a
receipt for each, and says every step on a line of JSON."""

import json
import os
import sys

import socketio

NAMESPACE = os.environ["NAMESPACE"]
client = socketio.Client(reconnection=False)


def say(event, data=None):
    sys.stdout.write(json.dumps({"event": event, "data": data}) + "\n")
    sys.stdout.flush()


@client.on("ok", namespace=NAMESPACE)
def ok(data):
    say("ok", data)
    client.emit("joinRoom", ["r1"], namespace=NAMESPACE, callback=lambda answer: say("joined", answer))


@client.on("push", namespace=NAMESPACE)
def push(data):
    say("push", data)
    client.emit("ackPush", {"id": data["id"]}, namespace=NAMESPACE)


client.connect(os.environ["URL"], namespaces=[NAMESPACE], transports=os.environ["TRANSPORTS"].split(","))
client.wait()
