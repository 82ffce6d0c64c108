//! Messages that leave an outbox without being written: a newer one takes their place, or they are recalled.

use super::*;

#[test]
fn a_newer_message_takes_the_place_of_what_waits() {
    check(
        "attach slow-a 1 json
         live slow-a 0
         push 1 all key:score | 1
         push 2 all | 1
         push 3 all key:score over:1 | 1
         push 4 all key:price | 1
         reads slow-a
         push 5 all key:score over:3 | 1
         reads slow-a
         ack slow-a 2
         ack slow-a 4
         ack slow-a 5
         gone slow-a",
        expect![[r#"
            attach slow-a 1 json
            live slow-a 0
            push 1 all key:score | 1
              written 1: [1]
            push 2 all | 1
              written 2: [1]
            push 3 all key:score over:1 | 1
              written 3: [1]
              collapsed 1: [1]
            push 4 all key:price | 1
              written 4: [1]
            reads slow-a
              told that 0 were dropped
              > slow-a 2
              > slow-a 3
              > slow-a 4
            push 5 all key:score over:3 | 1
              written 5: [1]
            reads slow-a
              told that 0 were dropped
              > slow-a 5
            ack slow-a 2
            ack slow-a 4
            ack slow-a 5
            gone slow-a
              settled Some(5)
        "#]],
    );
}

#[test]
fn a_recalled_message_reaches_nobody_any_more() {
    check(
        "attach slow-a 1 json
         live slow-a 0
         attach b 2 json
         live b 0
         attach c 3 json
         push 1 all | 1,2,3
         push 2 all | 1,2,3
         recall 1
         reads slow-a
         replay c 1 all | 3
         live c 0
         ack slow-a 2
         gone slow-a",
        expect![[r#"
            attach slow-a 1 json
            live slow-a 0
            attach b 2 json
            live b 0
            attach c 3 json
            push 1 all | 1,2,3
              > b 1@all
              written 1: [1, 2]
            push 2 all | 1,2,3
              > b 2@all
              written 2: [1, 2]
            recall 1
              unwritten 1: 1
            reads slow-a
              told that 0 were dropped
              > slow-a 2
            replay c 1 all | 3
            live c 0
              > c 2@all
              written 2: [3]
            ack slow-a 2
            gone slow-a
              settled Some(2)
        "#]],
    );
}
