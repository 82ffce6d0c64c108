"""Every kind of call, by a client that was generated from the contract."""

import json
import queue
import threading
import unittest

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_status import rpc_status

from contract import NAMESPACE, channel, key, pb, pb_grpc, push, to_all, to_nobody


def details(error):
    """The details of a refusal, by their type."""
    found = {}
    for any_detail in rpc_status.from_call(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo,
                     error_details_pb2.RequestInfo):
            if any_detail.Is(kind.DESCRIPTOR):
                detail = kind()
                any_detail.Unpack(detail)
                found[kind.__name__] = detail
    return found


class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.channel = channel()
        cls.stub = pb_grpc.PushServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()

    def refused(self, call, request, **how):
        how.setdefault("metadata", key())
        with self.assertRaises(grpc.RpcError) as caught:
            call(request, timeout=10, **how)
        return caught.exception

    def ask(self, call, request):
        return call(request, metadata=key(), timeout=10)

    def test_push_and_report(self):
        data = json.dumps({"n": 1, "text": "é"})
        accepted = self.ask(self.stub.Push, push(id="order-1", data=data, event="order"))
        self.assertEqual((accepted.id, accepted.duplicate), ("order-1", False))
        again = self.ask(self.stub.Push, push(id="order-1", data=data, event="order"))
        self.assertTrue(again.duplicate)
        other = self.refused(self.stub.Push, push(id="order-1", data="2", event="order"))
        self.assertEqual(other.code(), grpc.StatusCode.ALREADY_EXISTS)
        asked = dict(namespace=NAMESPACE, id="order-1")
        report = self.ask(self.stub.GetReport, pb.GetReportRequest(**asked))
        dropped = sum(report.dropped.values())
        self.assertEqual(report.meant, report.acked + report.waiting + report.escalated + report.expired + dropped + report.recalled)
        self.assertGreaterEqual(report.meant, 1, "the client of this test")
        message = self.ask(self.stub.GetMessage, pb.GetMessageRequest(**asked))
        self.assertEqual((message.data, message.event, message.state), (data, "order", "live"))
        self.assertEqual(message.report.meant, report.meant)
        page = self.ask(self.stub.ListMessages, pb.ListMessagesRequest(namespace=NAMESPACE, event="order", limit=1))
        self.assertEqual([item.id for item in page.items], ["order-1"])
        receipts = self.ask(self.stub.ListReceipts, pb.ListReceiptsRequest(**asked))
        self.assertEqual([item.device for item in receipts.items], ["phone"])
        trace = self.ask(self.stub.GetTrace, pb.GetTraceRequest(user="ann", **asked))
        self.assertEqual((trace.message, trace.subject), ("order-1", "user:ann"))
        self.assertIn("accepted", [step.step for step in trace.steps])
        recalled = self.ask(self.stub.Recall, pb.RecallRequest(**asked))
        self.assertEqual(recalled.state, "recalled")

    def test_waiting_for_receipts(self):
        answer = self.ask(self.stub.Push, push(ack=pb.Ack(wait="10s")))
        self.assertTrue(answer.ack.complete, answer)
        self.assertEqual([(device.device, device.user, device.acked) for device in answer.ack.devices], [("phone", "ann", True)])

    def test_dry_run(self):
        answer = self.ask(self.stub.Push, push(dry_run=True))
        self.assertTrue(answer.dry_run)
        self.assertFalse(answer.HasField("id"))
        self.assertEqual(answer.meant.devices, 1)

    def test_batch(self):
        request = pb.PushBatchRequest(namespace=NAMESPACE, messages=[to_all(id="b1"), pb.Push(), to_all(data="{")])
        results = self.ask(self.stub.PushBatch, request).results
        self.assertEqual([result.WhichOneof("outcome") for result in results], ["accepted", "error", "error"])
        self.assertEqual([error.field for error in results[1].error.errors], ["to"])
        self.assertEqual([error.field for error in results[2].error.errors], ["data"])

    def test_stream(self):
        def pushes():
            for n in range(3_000):
                wrong = n % 10 == 7
                yield pb.PushStreamRequest(correlation=str(n), namespace=NAMESPACE, push=pb.Push() if wrong else to_nobody())

        answers = list(self.stub.PushStream(pushes(), metadata=key(), timeout=60))
        self.assertEqual([answer.correlation for answer in answers], [str(n) for n in range(3_000)])
        refused = [n for n, answer in enumerate(answers) if answer.WhichOneof("outcome") == "error"]
        self.assertEqual(refused, list(range(7, 3_000, 10)))
        self.assertEqual(answers[7].error.code, "invalid_request")

    def test_stream_as_a_conversation(self):
        outgoing = queue.Queue()
        answers = self.stub.PushStream(iter(outgoing.get, None), metadata=key(), timeout=60)
        for n in range(20):
            outgoing.put(pb.PushStreamRequest(correlation=f"c{n}", namespace=NAMESPACE, push=to_all()))
            self.assertEqual(next(answers).correlation, f"c{n}")
        outgoing.put(None)
        self.assertEqual(list(answers), [])
        self.assertEqual(answers.code(), grpc.StatusCode.OK)

    def test_cancelled_streams(self):
        endless = iter(lambda: pb.PushStreamRequest(namespace=NAMESPACE, push=to_nobody()), None)
        for _ in range(50):
            answers = self.stub.PushStream(endless, metadata=key(), timeout=60)
            next(answers)
            answers.cancel()
        self.assertTrue(self.ask(self.stub.Push, push()).id)

    def test_who_does_not_read_is_not_read_from(self):
        # Of the smallest pushes there are most.
        for data in (None, json.dumps("x" * 1_000)):
            with self.subTest(data=data and len(data)):
                self.without_reading(to_nobody(data=data))

    def without_reading(self, sent_push):
        # Windows that do not grow, so that it is clear what is on its way.
        with channel(("grpc.http2.bdp_probe", 0)) as own:
            sent = [0]
            stop = threading.Event()

            def endless():
                while not stop.is_set():
                    sent[0] += 1
                    yield pb.PushStreamRequest(correlation=str(sent[0]), namespace=NAMESPACE, push=sent_push)

            answers = pb_grpc.PushServiceStub(own).PushStream(endless(), metadata=key(), timeout=60)
            self.assertEqual(next(answers).correlation, "1")
            # It comes to a halt by itself, and nobody else notices.
            before = None
            while sent[0] != before:
                before = sent[0]
                for _ in range(20):
                    self.assertTrue(self.ask(self.stub.GetRoom, pb.GetRoomRequest(namespace=NAMESPACE, room="lobby")).room)
            self.assertLess(sent[0], 30_000)
            stop.set()
            rest = [answer.correlation for answer in answers]
            self.assertEqual(rest, [str(n) for n in range(2, sent[0] + 1)])

    def test_errors(self):
        request = pb.PushRequest(namespace=NAMESPACE, push=pb.Push(to=pb.Target(users=["ann", ""]), ttl="31d"))
        error = self.refused(self.stub.Push, request, metadata=key() + (("x-request-id", "mine"),))
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        found = details(error)
        self.assertEqual((found["ErrorInfo"].reason, found["ErrorInfo"].domain), ("invalid_request", "tidings"))
        self.assertEqual([violation.field for violation in found["BadRequest"].field_violations], ["to.users[1]", "ttl"])
        self.assertEqual(found["RequestInfo"].request_id, "mine")
        for expected, call, request, metadata in [
            (grpc.StatusCode.UNAUTHENTICATED, self.stub.Push, push(), ()),
            (grpc.StatusCode.UNAUTHENTICATED, self.stub.Push, push(), key("nk_none")),
            (grpc.StatusCode.NOT_FOUND, self.stub.GetUser, pb.GetUserRequest(namespace="none", user="ann"), key()),
            (grpc.StatusCode.NOT_FOUND, self.stub.GetReport, pb.GetReportRequest(namespace=NAMESPACE, id="none"), key()),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, self.stub.Push, push(data=json.dumps("x" * 70_000)), key()),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, self.stub.Push, push(data=json.dumps("x" * 300_000)), key()),
            (grpc.StatusCode.INVALID_ARGUMENT, self.stub.Push, push(data="[" * 5_000 + "]" * 5_000), key()),
        ]:
            error = self.refused(call, request, metadata=metadata)
            self.assertEqual(error.code(), expected, error)
            self.assertIn("ErrorInfo", details(error), error)

    def test_errors_of_many_fields_reach_the_client(self):
        users = [f"\u0007{n}" + "é" * 100 for n in range(1_000)]
        error = self.refused(self.stub.Push, pb.PushRequest(namespace=NAMESPACE, push=pb.Push(to=pb.Target(users=users))))
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT, error)

    def test_unknown_methods(self):
        call = self.channel.unary_unary("/tidings.v1.PushService/Poll", request_serializer=bytes, response_deserializer=bytes)
        self.assertEqual(self.refused(call, b"").code(), grpc.StatusCode.UNIMPLEMENTED)
        call = self.channel.unary_unary("/some.other.Service/Call", request_serializer=bytes, response_deserializer=bytes)
        self.assertEqual(self.refused(call, b"").code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_bytes_that_are_no_message(self):
        call = self.channel.unary_unary("/tidings.v1.PushService/Push", request_serializer=bytes, response_deserializer=bytes)
        # A field that ends too early, and text that is not UTF-8.
        for garbage in (b"\x0a\xff", b"\x0a\x02\xff\xfe"):
            self.assertEqual(self.refused(call, garbage).code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_users_devices_rooms(self):
        user = self.ask(self.stub.GetUser, pb.GetUserRequest(namespace=NAMESPACE, user="ann"))
        self.assertTrue(user.online)
        self.assertEqual([device.device for device in user.devices], ["phone"])
        status = self.ask(self.stub.UserStatus, pb.UserStatusRequest(namespace=NAMESPACE, users=["ann", "nobody"]))
        self.assertEqual([(state.user, state.online) for state in status.items], [("ann", True), ("nobody", False)])
        devices = self.ask(self.stub.ListDevices, pb.ListDevicesRequest(namespace=NAMESPACE))
        self.assertEqual([device.device for device in devices.items], ["phone"])
        members = pb.RoomMembersRequest(namespace=NAMESPACE, room="a room/with #signs", users=["ann"])
        self.assertEqual(self.ask(self.stub.AddRoomMembers, members).added, 1)
        room = self.ask(self.stub.GetRoom, pb.GetRoomRequest(namespace=NAMESPACE, room=members.room))
        self.assertEqual((room.room, room.total), (members.room, 1))
        listed = self.ask(self.stub.ListRoomMembers, pb.ListRoomMembersRequest(namespace=NAMESPACE, room=members.room))
        self.assertEqual([member.user for member in listed.items], ["ann"])
        self.assertEqual(self.ask(self.stub.RemoveRoomMembers, members).removed, 1)

    def test_keys_namespaces_numbers(self):
        made = self.ask(self.stub.MakeKey, pb.MakeKeyRequest(namespace=NAMESPACE, name="reader", scopes=["read"]))
        error = self.refused(self.stub.Push, push(), metadata=key(made.key))
        self.assertEqual(error.code(), grpc.StatusCode.PERMISSION_DENIED)
        self.ask(self.stub.RevokeKey, pb.RevokeKeyRequest(namespace=NAMESPACE, id=made.id))
        error = self.refused(self.stub.GetUser, pb.GetUserRequest(namespace=NAMESPACE, user="ann"), metadata=key(made.key))
        self.assertEqual(error.code(), grpc.StatusCode.UNAUTHENTICATED)
        created = self.ask(self.stub.CreateNamespace, pb.CreateNamespaceRequest(json='{"name":"shop","auth":{"mode":"token"}}'))
        self.assertEqual((created.name, created.state), ("shop", "active"))
        changed = self.ask(self.stub.ChangeNamespace, pb.ChangeNamespaceRequest(namespace="shop", json='{"title":"The shop"}'))
        self.assertEqual(json.loads(changed.json)["title"], "The shop")
        self.assertEqual(self.ask(self.stub.SuspendNamespace, pb.SuspendNamespaceRequest(namespace="shop")).state, "suspended")
        error = self.refused(self.stub.Push, pb.PushRequest(namespace="shop", push=to_all()))
        self.assertEqual(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual(self.ask(self.stub.ResumeNamespace, pb.ResumeNamespaceRequest(namespace="shop")).state, "active")
        token = self.ask(self.stub.MintToken, pb.MintTokenRequest(namespace="shop", user="ann", meta='{"a":1}'))
        self.assertEqual(token.token.count("."), 2)
        self.assertTrue(self.ask(self.stub.GetCurrentStats, pb.GetCurrentStatsRequest(namespace=NAMESPACE)).day.at)

    def test_health(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "tidings.v1.PushService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        watch.cancel()

    def test_reflection(self):
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.assertIn("tidings.v1.PushService", database.get_services())
        service = DescriptorPool(database).FindServiceByName("tidings.v1.PushService")
        names = [method.name for method in service.methods]
        self.assertEqual(names, [method.name for method in pb.DESCRIPTOR.services_by_name["PushService"].methods])


if __name__ == "__main__":
    unittest.main()
