// Package quicnet is the node's edge to the network: one UDP socket with one
// QUIC transport on it, on which relay clients (ALPN "wzp"), DHT peers (ALPN
// "signalbox-dht/1") and, if wanted, browsers (ALPN "h3", WebTransport) arrive
// and from which DHT links are dialled. It is the only importer of quic-go; what
// quic-go does on its own that we must account for (packets dropped in its
// queues, failed handshakes) leaves here as counters, and its errors as ours.
//
// # Goroutines
//
//	who                 how many                   ends when
//	acceptor            Acceptors (128)            Run's context ends, or the socket dies
//	handler             1 per accepted connection  the handler given to Run returns
//	browser's streams   2 per h3 connection, and   the connection ends; the stream has
//	                    1 per stream, at most 108  been read or refused
//	session             1 per browser, and one     the session ends; its connection
//	                    that reads its capsules    does half a second later
//	quic-go's own       2 per transport, about 3   Close; the connection ends
//	                    per connection
//
// # Locks
//
// gate.mu (admission counts) and registry.mu (live connections) are leaves:
// nothing is called and nobody waited for while one is held.
//
// # What a stranger costs
//
// A connection attempt is refused before any state is made for it when the
// node drains, the address is banned, or a cap is reached. Above a rate of
// attempts, or of half-open handshakes, an address must first prove itself by
// a Retry, which costs us one packet and no memory.
package quicnet
