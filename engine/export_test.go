package engine

import (
	"context"

	"signalbox/dht/table"
)

// Closest are the peers that a lookup of target finds, the closest first.
func (e *Engine) Closest(ctx context.Context, target string) (ids []string, err error) {
	id, err := table.ParseID(target)
	if err != nil {
		return nil, err
	}
	found, err := e.dht.Lookup(ctx, id)
	for _, f := range found {
		ids = append(ids, f.ID.String())
	}
	return ids, err
}
