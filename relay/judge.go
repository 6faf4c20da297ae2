package relay

import (
	"time"

	"signalbox/relay/wire"
)

// The judge's hysteresis, counted in reports, and its probe's times (5.5).
const (
	reportsDown       = 3
	reportsUpStudio   = 10 // from Good upwards
	reportsUpDegraded = 5  // below Good

	stableBeforeProbe = int64(30 * time.Second)
	probeLength       = int64(5 * time.Second)
	probeBackoff      = int64(60 * time.Second)
	probeBadAllowed   = 1
)

// classify is the tier one report speaks for, in raw trailer bytes (5.5): the
// loss thresholds are 15, 5, 2 and 1 %, those of the round trip 200, 100, 80,
// 50 and 30 ms.
func classify(q wire.QualityReport) wire.Tier {
	switch {
	case q.Loss >= 39 || q.RTT4 >= 50:
		return wire.Catastrophic
	case q.Loss >= 13 || q.RTT4 >= 25:
		return wire.Degraded
	case q.Loss >= 6 || q.RTT4 >= 20:
		return wire.Good
	case q.Loss >= 3 || q.RTT4 >= 13:
		return wire.Studio32k
	case q.RTT4 >= 8:
		return wire.Studio48k
	}
	return wire.Studio64k
}

// judge is the controller of one participant (5.5): three bad reports in a row
// take it straight down, a run of better ones up by one tier, and thirty
// stable seconds let it try the next. It has no clock and no lock; whoever
// holds the participant's judging flag owns it.
type judge struct {
	tier     wire.Tier
	up, down int

	stable    bool  // stableAt is set
	stableAt  int64 // since when; in the future after a failed probe
	probing   bool
	target    wire.Tier
	probeAt   int64
	probesBad int
}

func newJudge() judge { return judge{tier: wire.Good} }

// report feeds one observation and says whether the tier changed.
func (j *judge) report(seen wire.Tier, now int64) bool {
	changed := false
	switch {
	case seen == j.tier:
		j.up, j.down = 0, 0
	case seen < j.tier:
		j.up = 0
		if j.down++; j.down >= reportsDown {
			j.tier, j.down, changed = seen, 0, true
		}
	default:
		j.down = 0
		need := reportsUpStudio
		if j.tier < wire.Good {
			need = reportsUpDegraded
		}
		if j.up++; j.up >= need {
			j.tier, j.up, changed = j.tier+1, 0, true
		}
	}
	if changed {
		j.probing, j.stable = false, false
		return true
	}
	return j.probe(seen, now)
}

// probe is the second way up: after a stable half minute the next tier is
// assumed for five seconds, and taken if the reports bear it out.
func (j *judge) probe(seen wire.Tier, now int64) bool {
	if j.probing {
		if seen < j.target {
			j.probesBad++
		}
		switch {
		case j.probesBad > probeBadAllowed:
			j.probing, j.stable, j.stableAt = false, true, now+probeBackoff
		case now-j.probeAt >= probeLength:
			j.probing, j.tier, j.up = false, j.target, 0
			j.stable, j.stableAt = true, now
			return true
		}
		return false
	}
	switch {
	case j.tier == wire.Studio64k:
	case seen < j.tier:
		j.stable = false
	case !j.stable:
		j.stable, j.stableAt = true, now
	case now-j.stableAt >= stableBeforeProbe:
		j.probing, j.target, j.probeAt, j.probesBad = true, j.tier+1, now, 0
	}
	return false
}
