// Package state is what a node keeps on disk and what it derives from it: the
// identity file and the keys that come from its 32-byte seed, the certificates
// those keys sign, and files that are either entirely old or entirely new
// after a crash.
//
// Every secret comes from one seed by HKDF-SHA256 with its own info string, so
// a copy of one file moves a node, and no two uses share a key. The package
// imports nothing of this module.
package state
