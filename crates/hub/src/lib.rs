//! Who is here and who gets it: directory, shard, broadcast, outbox and timing wheel, without I/O.
