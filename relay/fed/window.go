package fed

import (
	"sync"
	"time"
)

// A packet is remembered for between one and two generations. The slowest way
// round through other relays that is still worth hearing is far shorter.
const (
	generation    = int64(5 * time.Second)
	generationMax = 16384 // packets; beyond it a generation ends early
)

// verdict is what a window says of a packet.
type verdict uint8

const (
	fresh verdict = iota
	seen          // has been here, from another relay
	ours          // has been here, and a member of ours sent it
)

// window remembers what a room has carried: two generations of hashes, the
// lowest bit telling ours from others'.
type window struct {
	mu       sync.Mutex // leaf
	now, old hashes
	since    int64
	early    uint64 // generations that ended because they were full
}

// note says whether the packet was here, and remembers it. A packet of ours
// stays ours.
func (w *window) note(hash uint64, own bool, now int64) verdict {
	if hash |= 1; hash == 1 {
		hash = 3 // 0 is an empty place
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if full := w.now.n >= generationMax; full || now-w.since >= generation {
		if full {
			w.early++
		}
		if now-w.since >= 2*generation {
			w.now.clear()
		}
		w.now, w.old = w.old, w.now
		w.now.clear()
		w.since = now
	}
	v := w.old.find(hash)
	if v == fresh {
		v = w.now.find(hash)
	}
	if v == fresh || own {
		if !own {
			hash &^= 1
		}
		w.now.add(hash)
	}
	return v
}

// hashes is a set with open addressing, at most half full. A hash is stored
// with its lowest bit saying whether it is ours; 0 is an empty place.
type hashes struct {
	slots []uint64
	n     int
}

const minSlots = 64

// clear empties the set, and gives back what a burst made it grow to.
func (h *hashes) clear() {
	if len(h.slots) > minSlots && h.n < len(h.slots)/8 {
		h.slots = make([]uint64, len(h.slots)/2)
	} else {
		clear(h.slots)
	}
	h.n = 0
}

func (h *hashes) place(hash uint64) int {
	mask := uint64(len(h.slots) - 1)
	for i := hash >> 1 & mask; ; i = (i + 1) & mask {
		if s := h.slots[i]; s == 0 || s|1 == hash|1 {
			return int(i)
		}
	}
}

func (h *hashes) find(hash uint64) verdict {
	if len(h.slots) == 0 {
		return fresh
	}
	switch s := h.slots[h.place(hash)]; {
	case s == 0:
		return fresh
	case s&1 == 1:
		return ours
	}
	return seen
}

func (h *hashes) add(hash uint64) {
	if 2*(h.n+1) > len(h.slots) {
		old := h.slots
		h.slots = make([]uint64, max(minSlots, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				h.slots[h.place(s)] = s
			}
		}
	}
	i := h.place(hash)
	if h.slots[i] == 0 {
		h.n++
	}
	h.slots[i] = hash | h.slots[i]&1 // ours stays ours
}
