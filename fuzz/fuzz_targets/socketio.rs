//! A Socket.IO connection: lines are text packets, lines that begin with a tab are attachments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::nesting::{self, DEPTH_MAX};
use tidings_wire::socketio::{self, Args, Assembler, Kind, Limits};

const LIMITS: Limits = Limits { attachments: 4, bytes: 256 };

fuzz_target!(|input: &[u8]| {
    let mut assembler = Assembler::new();
    for line in input.split(|&byte| byte == b'\n') {
        if let Some(attachment) = line.strip_prefix(b"\t") {
            if let Ok(Some(whole)) = assembler.attach(attachment, LIMITS) {
                let bytes: usize = whole.attachments.iter().map(Vec::len).sum();
                assert!(whole.attachments.len() <= LIMITS.attachments && bytes <= LIMITS.bytes);
            }
            continue;
        }
        let Ok(text) = std::str::from_utf8(line) else { continue };
        let Ok(packet) = socketio::decode(text) else { continue };
        assert!(packet.namespace.starts_with('/') && !packet.namespace.contains([',', '?']));
        if let Some(data) = packet.data {
            assert!(nesting::is_within(data, DEPTH_MAX));
        }
        match packet.kind {
            Kind::Event => {
                let data = packet.data.expect("an event has data");
                if let Ok(args) = Args::event(data) {
                    let raw: Vec<&str> = args.args.iter().map(|arg| arg.get()).collect();
                    let id = packet.id.and_then(|id| u32::try_from(id).ok());
                    let again = socketio::event(packet.namespace, id, &args.name, &raw);
                    let again = socketio::decode(&again).expect("what was accepted is accepted again");
                    assert_eq!(again.namespace, packet.namespace);
                }
            }
            Kind::Ack => drop(Args::ack(packet.data.expect("an acknowledgement has data"))),
            Kind::BinaryEvent | Kind::BinaryAck => drop(assembler.begin(&packet, LIMITS)),
            Kind::Connect | Kind::Disconnect | Kind::ConnectError => drop(assembler.check_text()),
        }
    }
});
