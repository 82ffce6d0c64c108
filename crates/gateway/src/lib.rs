//! Clients: listen, upgrade, connections, transports and dialects.
