// Package nattest runs the real binary behind real NATs: network namespaces
// joined by veth pairs, with the kernel's own masquerading. It holds nothing but
// tests, which want Linux, root, ip and nft, and are skipped without.
package nattest
