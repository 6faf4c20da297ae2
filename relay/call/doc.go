// Package call is the relay's signalling without its transport: who is
// registered (Hub, Client), the direct calls between them, and who can be
// reached where (Presence). It is passive like package relay: no I/O, no
// goroutine, no waiting, and time is what the caller says it is, in
// nanoseconds of a monotonic clock. Section numbers in comments are those of
// the wzp specification.
//
// # A client
//
// The caller registers a connection, hands in what the client says with
// Client.Handle, and runs one writer: it waits for Client.Wake, asks
// Client.Next for frames until there is none, and reports of each that the
// client has read it (Told), has not read it in time (Unread), or could not be
// given it (Failed). A queue is bounded in frames and bytes, and nobody else
// waits for it: a client that does not take what it is told loses its own
// calls and nothing more.
//
// A registration is removed by its connection, never by its name, so the late
// end of an old connection cannot unregister its successor. Several
// connections may hold the same identity; the newest one is rung, and when it
// goes the one before it is rung again.
//
// # A call
//
// Pending until the callee's client has read the offer, then ringing, then
// active once it was accepted, and then gone: a call that ends is deleted, and
// everybody who has not ended it is told. Every verb is checked against the
// two parties. Parties may be at other relays, which are reached through
// Remote and speak through Hub.FromRelay.
//
// # Locks
//
// Hub.mu guards registry and calls. A client's queue has a lock of its own
// below it, Presence another one beside it. Nothing of the caller's (events,
// closes, Remote) is called with a lock held.
package call
