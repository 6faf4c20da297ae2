package engine

import (
	"signalbox/relay/wire"
)

// callFrom takes a call's signal from another relay (spec wzp 5.12).
func (e *Engine) callFrom(relay string, s wire.Signal, now int64) {}

// presenceFrom takes what a signalbox has told of its clients (spec wzp 5.7).
func (e *Engine) presenceFrom(relay string, m *wire.PresenceUpdate, now int64) {}

// relayGone ends what depends on a relay that is linked no more.
func (e *Engine) relayGone(relay string, now int64) {}

func (e *Engine) askedBy(relay string, q *wire.RouteQuery) *wire.RouteResponse { return nil }

func (e *Engine) answeredBy(relay string, a *wire.RouteResponse) {}
