//! A stand-in for the server: just as much of the public contract as the bench uses, a thread for each connection.
//!
//! It can be told to misbehave, because what a bench must never do is report a good figure for lost frames.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// The variable that names the fault.
pub(crate) const FAULT: &str = "TIDINGS_STANDIN_FAULT";
/// Pushes after which a fault shows, once.
const FAULT_AFTER: u64 = 9;
const STACK: usize = 128 * 1024;
const KEY: &str = "standin-key";
const GRANTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[derive(Default)]
struct Room {
    members: Vec<Arc<TcpStream>>,
    pushes: u64,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: &str) {
    let fault = std::env::var(FAULT).unwrap_or_default();
    if fault == "no start" {
        eprintln!("cannot start: the stand-in was told not to");
        std::process::exit(3);
    }
    let listener = TcpListener::bind(listen).unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    println!("admin key: {KEY}");
    let room = Arc::new(Mutex::new(Room::default()));
    for stream in listener.incoming() {
        let (stream, room, fault) = (stream.unwrap(), Arc::clone(&room), fault.clone());
        let connection = move || drop(serve_connection(stream, &room, &fault));
        thread::Builder::new().stack_size(STACK).spawn(connection).unwrap();
    }
}

fn serve_connection(stream: TcpStream, room: &Mutex<Room>, fault: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Arc::new(stream);
    let mut reader = BufReader::with_capacity(512, &*stream);
    loop {
        let (mut request, mut length, mut authorized) = (String::new(), 0, false);
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().unwrap(),
                Some(("Authorization", value)) => authorized = value == format!("Bearer {KEY}"),
                Some(_) => {}
                None => break,
            }
        }
        if request.starts_with("GET /v1/namespaces/demo/connect ") {
            return serve_client(&stream, reader, room);
        }
        if request.starts_with("GET / ") {
            reader.get_mut().write_all(GRANTED)?;
            room.lock().unwrap().members.push(Arc::clone(&stream));
            std::io::copy(&mut reader, &mut std::io::sink())?;
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = match request.split(' ').nth(1) {
            Some("/publish") => {
                let entries: Vec<Value> = serde_json::from_slice(&body)?;
                let frames = entries.iter().map(|entry| text_frame(&entry.to_string())).collect();
                deliver(frames, room, fault);
                ("200 OK", json!({}))
            }
            _ if !authorized => ("401 Unauthorized", json!({"code": "unauthorized"})),
            Some("/v1/namespaces/demo/messages") => ("202 Accepted", push(&[&body], room, fault)[0].clone()),
            Some("/v1/namespaces/demo/messages:batch") => {
                let batch: Value = serde_json::from_slice(&body)?;
                let bodies: Vec<String> =
                    batch["messages"].as_array().unwrap().iter().map(Value::to_string).collect();
                let bodies: Vec<&[u8]> = bodies.iter().map(String::as_bytes).collect();
                ("200 OK", json!({ "results": push(&bodies, room, fault) }))
            }
            _ => ("404 Not Found", json!({"code": "not_found"})),
        };
        let answer = answer.to_string();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        reader.get_mut().write_all(answer.as_bytes())?;
    }
}

/// Makes a frame of each of `bodies` and writes them to every member.
fn push(bodies: &[&[u8]], room: &Mutex<Room>, fault: &str) -> Vec<Value> {
    let before = room.lock().unwrap().pushes;
    let frame = |(index, body): (usize, &&[u8])| {
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["to"]["rooms"], json!(["bench"]));
        let id = format!("{:026}", before + index as u64);
        let push = json!({"push": {"id": id, "event": body["event"], "data": body["data"], "room": "bench"}});
        text_frame(&push.to_string())
    };
    deliver(bodies.iter().enumerate().map(frame).collect(), room, fault);
    bodies.iter().map(|_| json!({"id": "x", "duplicate": false})).collect()
}

/// Writes `frames` to every member, in one write each.
fn deliver(frames: Vec<Vec<u8>>, room: &Mutex<Room>, fault: &str) {
    let mut room = room.lock().unwrap();
    let before = room.pushes;
    room.pushes += frames.len() as u64;
    let shows = before <= FAULT_AFTER && room.pushes > FAULT_AFTER;
    let last = frames.len() - 1;
    for (index, member) in room.members.iter().enumerate() {
        let bytes = match fault {
            "lose" if shows && index == 7 => frames[..last].concat(),
            "twice" if shows && index == 7 => [frames.concat(), frames[last].clone()].concat(),
            "swap" if shows && index == 50 => frames.iter().rev().flatten().copied().collect(),
            "die" if shows && index == 7 => {
                eprintln!("the stand-in dies as told");
                std::process::exit(4);
            }
            _ => frames.concat(),
        };
        let _ = (&**member).write_all(&bytes);
    }
}

fn serve_client(
    stream: &Arc<TcpStream>,
    mut reader: BufReader<&TcpStream>,
    room: &Mutex<Room>,
) -> std::io::Result<()> {
    reader.get_mut().write_all(GRANTED)?;
    loop {
        let mut head = [0; 2];
        reader.read_exact(&mut head)?;
        let mut length = u64::from(head[1] & 0x7f);
        if length == 126 {
            let mut longer = [0; 2];
            reader.read_exact(&mut longer)?;
            length = u64::from(u16::from_be_bytes(longer));
        }
        let mut mask = [0; 4];
        reader.read_exact(&mut mask)?;
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        reader.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match head[0] {
            0x81 => {
                let command: Value = serde_json::from_slice(&payload)?;
                let answer = text_frame(&json!({"id": command["id"], "ok": {}}).to_string());
                let mut room = room.lock().unwrap();
                reader.get_mut().write_all(&answer)?;
                if command["cmd"] == "join" {
                    // A ping that must be answered before anything else goes wrong.
                    reader.get_mut().write_all(&[0x89, 2, b'h', b'i'])?;
                    room.members.push(Arc::clone(stream));
                }
            }
            0x8a => assert_eq!(payload, b"hi", "the pong has the payload of the ping"),
            _ => return Ok(()),
        }
    }
}

fn text_frame(payload: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(payload.as_bytes());
    frame
}
