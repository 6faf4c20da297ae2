// Package flight is the flight recorder: what the node looked like, second by
// second, kept in bounded memory and, beside it, in bounded files, so that the
// evidence of a night is still there in the morning.
//
// A recording is a sequence of frames (format.go). Snapshots of consecutive
// seconds differ little, so every thirtieth stands alone, a key, and those
// after it are compressed with the key as their dictionary; a key and its
// followers are a chunk, which is the unit of memory, of reading and of
// forgetting. Memory, files and the network carry the same bytes.
//
// Goroutines: one, started by Run; it alone writes files. Record hands it work
// through a mailbox and never waits: while it is busy, seconds are skipped and
// counted. Locks: mu guards the chunks and is held for appending and copying
// slices of them only.
package flight
