// Package wire is the WarzonePhone wire format: media packets, trunk and
// federation datagrams, signal messages in their frames, and the signatures
// and derivations of the handshakes. Section numbers in comments are those of
// the wzp specification.
//
// The package does no I/O of its own but reading and writing one frame, keeps
// no state and starts nothing. Media parsing allocates nothing; everything
// that parses is bounded by the bytes that really arrived, never by a length
// somebody claimed.
package wire
