// Package fed is federation without its transport: which relays are linked
// (Mesh, Link), who is in the rooms they share, and the media between them. It
// is passive like package relay: no I/O, no goroutine, no waiting, and time is
// what the caller says it is, in ns of a monotonic clock. Section numbers in
// comments are those of the wzp specification.
//
// # A link
//
// The caller connects, proves who is there, and hands the connection in with
// Mesh.Up; from then on it runs a reader of datagrams (Receive), a reader of
// signals (Handle), a writer of datagrams (Wake, Take, Pack, Done) and a
// writer of signals (SignalWake, Next). Link.Down takes out this connection and
// no other. Two relays that both dial have two connections for a moment:
// signalboxes keep the one dialled by the relay with the lower fingerprint,
// with others both stay readable and one is written to.
//
// # Announcements
//
// For every room, what a peer is told is computed from what is so, when its
// signal writer is ready for it, and sent only if it differs from what it was
// told before. So nothing is queued, nothing unchanged is repeated, a slow peer
// gets the newest list, and the mesh falls silent after the last change.
//
// A list is made of groups: the members of one relay, with the version that
// relay gave them and the way they came. Nothing goes to a relay it has come
// through, nor to one that is linked with the group's relay itself; a version
// that its relay has replaced is forgotten wherever it is. With relays that
// know no groups the peer's whole list is one.
//
// # Media
//
// What a member of ours says goes to every peer that has announced the room;
// what a peer says goes to our members and to the other peers, except those
// that get it from its relay directly. Each room remembers for ten seconds what
// it has carried, our own packets included, over the whole packet.
//
// # The account
//
// A packet received is refused for a reason, or handed to our rooms and pushed
// into other links' rings: each of these is one copy. Rings close as those of
// participants do (package relay), so Counts closes at every call.
//
// # Locks
//
//	Mesh.mu      who is linked, what was announced; nothing of the caller's
//	             is called under it but Transport.Close's equivalent, later
//	window.mu    leaf: what a room has carried
//	ring         leaf: one link's queue
//
// relay calls us under its own locks (Config.Global), we never call relay under
// ours.
package fed
