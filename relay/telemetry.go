package relay

import "sync/atomic"

// recovery is what a client says its decoder has made up for: totals that only
// grow.
type recovery struct{ dred, plc atomic.Uint64 }

// NoteRecovery takes a client's LossRecoveryUpdate (3.4): frames it has rebuilt
// from DRED, and frames it has concealed. A total that has shrunk is old, or
// not true, and changes nothing.
func (p *Participant) NoteRecovery(dred, plc uint64) {
	raise(&p.recovery.dred, dred)
	raise(&p.recovery.plc, plc)
}

func raise(v *atomic.Uint64, to uint64) {
	for old := v.Load(); to > old; old = v.Load() {
		if v.CompareAndSwap(old, to) {
			return
		}
	}
}
