package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

const (
	patience  = 3 * time.Second        // for the answer to a cursor query
	deafEvery = 500 * time.Millisecond // 2 Hz where nothing acknowledges
	slowShown = 5 * time.Second        // how long a slow link is mentioned
	leaveFor  = time.Second            // for the last answer before the console closes
)

// pacer decides when the clock may make a frame. After each it lets the model
// ask for the cursor's position; until the terminal answers, everything sent
// before the question has not been read, and another frame would only queue
// behind it. Keys do not ask: their answer is always drawn at once.
type pacer struct {
	waiting  bool      // a question is open
	asked    time.Time // when
	last     time.Time // last frame made by the clock
	answers  bool      // the terminal has answered before
	deaf     bool      // it never has, and we no longer wait
	skipped  int       // frames not made since the link was last in time
	lastSkip time.Time
}

// may tells whether the clock may make a frame now, and counts one that may
// not.
func (p *pacer) may(now time.Time) bool {
	if p.waiting && !p.answers && now.Sub(p.asked) >= patience {
		p.deaf, p.waiting = true, false
	}
	ok := !p.waiting
	if p.deaf {
		ok = now.Sub(p.last) >= deafEvery
	}
	if !ok && !p.deaf {
		if now.Sub(p.lastSkip) > slowShown {
			p.skipped = 0
		}
		p.skipped++
		p.lastSkip = now
	}
	return ok
}

// made notes a frame made by the clock, after which the question is asked.
func (p *pacer) made(now time.Time) {
	p.last = now
	p.waiting, p.asked = true, now
}

// again tells whether to repeat a question whose answer may have been lost.
func (p *pacer) again(now time.Time) bool {
	if !p.waiting || p.deaf || now.Sub(p.asked) < patience {
		return false
	}
	p.asked = now
	return p.answers
}

// answered notes the terminal's answer.
func (p *pacer) answered() { p.waiting, p.answers, p.deaf = false, true, false }

// leave closes the console. An answer of the terminal that is still on its way
// is waited for: it would be typed into the shell that follows.
func (m *Model) leave() tea.Cmd {
	if m.leaving || !m.pace.waiting || !m.pace.answers {
		return tea.Quit
	}
	m.leaving = true
	return tea.Tick(leaveFor, func(time.Time) tea.Msg { return tea.Quit() })
}

// slow is how many frames a slow link has cost lately.
func (p *pacer) slow(now time.Time) int {
	if p.skipped < 2 || now.Sub(p.lastSkip) > slowShown {
		return 0
	}
	return p.skipped
}
