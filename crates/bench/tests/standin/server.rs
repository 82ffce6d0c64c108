//! A stand-in for the server: just as much of the public contract as the bench uses, a thread for each connection.
//!
//! It can be told to misbehave, because what a bench must never do is report a good figure for lost frames.

use std::{
    collections::HashMap,
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
/// The room of clients that speak nothing and get everything.
const EVERYBODY: &str = "everybody";
const STACK: usize = 128 * 1024;
const KEY: &str = "standin-key";
const GRANTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[derive(Default)]
struct State {
    rooms: HashMap<String, Room>,
    users: HashMap<String, Arc<TcpStream>>,
    pushes: u64,
    connections: usize,
    acks: usize,
}

#[derive(Default)]
struct Room {
    members: Vec<(String, Arc<TcpStream>)>,
    log: Vec<Vec<u8>>,
    /// How long the log was when a device joined.
    joined: HashMap<String, usize>,
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
    let state = Arc::new(Mutex::new(State::default()));
    for stream in listener.incoming() {
        let (stream, state, fault) = (stream.unwrap(), Arc::clone(&state), fault.clone());
        let connection = move || drop(serve_connection(stream, &state, &fault));
        thread::Builder::new().stack_size(STACK).spawn(connection).unwrap();
    }
}

fn serve_connection(stream: TcpStream, state: &Mutex<State>, fault: &str) -> std::io::Result<()> {
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
            let mut device = String::new();
            let ended = serve_client(&stream, reader, state, &mut device, fault);
            let mut state = state.lock().unwrap();
            state.connections -= usize::from(!device.is_empty());
            for room in state.rooms.values_mut() {
                room.members.retain(|(member, _)| *member != device);
            }
            return ended;
        }
        if request.starts_with("GET / ") {
            {
                // Held over the grant, so that who was granted first is also the first member.
                let mut state = state.lock().unwrap();
                reader.get_mut().write_all(GRANTED)?;
                let member = (String::new(), Arc::clone(&stream));
                state.rooms.entry(EVERYBODY.to_owned()).or_default().members.push(member);
            }
            std::io::copy(&mut reader, &mut std::io::sink())?;
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = match request.split(' ').nth(1) {
            Some("/metrics") => ("200 OK", metrics(&state.lock().unwrap())),
            Some("/publish") => {
                let entries: Vec<Value> = serde_json::from_slice(&body)?;
                let frames = entries.iter().map(|entry| text_frame(&entry.to_string())).collect();
                let mut state = state.lock().unwrap();
                let before = state.pushes;
                state.pushes += entries.len() as u64;
                to_room(&mut state, EVERYBODY, frames, fault, before);
                ("200 OK", "{}".to_owned())
            }
            _ if !authorized => ("401 Unauthorized", json!({"code": "unauthorized"}).to_string()),
            Some("/v1/namespaces/demo/messages") => {
                ("202 Accepted", push(&[&body], state, fault)[0].to_string())
            }
            Some("/v1/namespaces/demo/messages:batch") => {
                let batch: Value = serde_json::from_slice(&body)?;
                let bodies: Vec<String> =
                    batch["messages"].as_array().unwrap().iter().map(Value::to_string).collect();
                let bodies: Vec<&[u8]> = bodies.iter().map(String::as_bytes).collect();
                ("200 OK", json!({ "results": push(&bodies, state, fault) }).to_string())
            }
            _ => ("404 Not Found", json!({"code": "not_found"}).to_string()),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        reader.get_mut().write_all(answer.as_bytes())?;
        if request.contains("/metrics") {
            return Ok(());
        }
    }
}

fn metrics(state: &State) -> String {
    let State { connections, acks, .. } = state;
    format!("tidings_connections{{protocol=\"json\"}} {connections}\ntidings_acks_total {acks}\n")
}

/// Writes the frames of all `bodies` to those they are for, in one write each where they are for one room.
fn push(bodies: &[&[u8]], state: &Mutex<State>, fault: &str) -> Vec<Value> {
    let mut state = state.lock().unwrap();
    let before = state.pushes;
    let mut frames = Vec::new();
    let mut room = None;
    for body in bodies {
        let body: Value = serde_json::from_slice(body).unwrap();
        let id = format!("{:026}", state.pushes);
        state.pushes += 1;
        let (event, data) = (&body["event"], &body["data"]);
        let push = format!(r#"{{"push":{{"id":"{id}","event":{event},"data":{data},"room":"bench"}}}}"#);
        let frame = text_frame(&push);
        match body["to"]["rooms"][0].as_str() {
            Some(name) => {
                room = Some(name.to_owned());
                frames.push(frame);
            }
            None if fault == "lose" && state.pushes == FAULT_AFTER => {}
            None => {
                if let Some(stream) = state.users.get(body["to"]["users"][0].as_str().unwrap()) {
                    let _ = (&**stream).write_all(&frame);
                }
            }
        }
    }
    if let Some(room) = room {
        to_room(&mut state, &room, frames, fault, before);
    }
    bodies.iter().map(|_| json!({"id": "x", "duplicate": false})).collect()
}

/// Writes `frames` to every member of a room, in one write each; `before` pushes have come before them.
fn to_room(state: &mut State, room: &str, frames: Vec<Vec<u8>>, fault: &str, before: u64) {
    let shows = before <= FAULT_AFTER && state.pushes > FAULT_AFTER;
    let room = state.rooms.entry(room.to_owned()).or_default();
    let last = frames.len() - 1;
    for (index, (_, member)) in room.members.iter().enumerate() {
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
    room.log.extend(frames);
}

fn serve_client(
    stream: &Arc<TcpStream>,
    mut reader: BufReader<&TcpStream>,
    state: &Mutex<State>,
    device: &mut String,
    fault: &str,
) -> std::io::Result<()> {
    reader.get_mut().write_all(GRANTED)?;
    loop {
        let (opcode, payload) = read_frame(&mut reader)?;
        match opcode {
            0x81 => {
                let command: Value = serde_json::from_slice(&payload)?;
                let answer = text_frame(&json!({"id": command["id"], "ok": {}}).to_string());
                let mut state = state.lock().unwrap();
                reader.get_mut().write_all(&answer)?;
                match command["cmd"].as_str().unwrap() {
                    "connect" => {
                        command["device"].as_str().unwrap().clone_into(device);
                        state.connections += 1;
                        if let Some(user) = command["user"].as_str() {
                            state.users.insert(user.to_owned(), Arc::clone(stream));
                        }
                        resume(&mut state, device, stream, fault)?;
                    }
                    "join" => {
                        // A ping that must be answered before anything else goes wrong.
                        reader.get_mut().write_all(&[0x89, 2, b'h', b'i'])?;
                        let room = command["rooms"][0].as_str().unwrap().to_owned();
                        let room = state.rooms.entry(room).or_default();
                        room.joined.insert(device.clone(), room.log.len());
                        room.members.push((device.clone(), Arc::clone(stream)));
                    }
                    "ack" => state.acks += command["ids"].as_array().unwrap().len(),
                    other => panic!("{other} is not a command that the bench gives"),
                }
            }
            0x8a => assert_eq!(payload, b"hi", "the pong has the payload of the ping"),
            _ => return Ok(()),
        }
    }
}

/// Everything that came to the rooms of a device since it joined, as nothing was acknowledged.
fn resume(state: &mut State, device: &str, stream: &Arc<TcpStream>, fault: &str) -> std::io::Result<()> {
    for room in state.rooms.values_mut() {
        let Some(joined) = room.joined.get(device) else { continue };
        let mut missed = room.log[*joined..].to_vec();
        if fault == "gap" {
            missed.swap(2, 3);
        }
        (&**stream).write_all(&missed.concat())?;
        room.members.push((device.to_owned(), Arc::clone(stream)));
    }
    Ok(())
}

fn read_frame(reader: &mut BufReader<&TcpStream>) -> std::io::Result<(u8, Vec<u8>)> {
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
    Ok((head[0], payload))
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
