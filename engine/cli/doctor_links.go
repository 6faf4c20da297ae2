package cli

import (
	"cmp"
	"fmt"
	"strings"

	"signalbox/engine/view"
)

// checkLinks says which links of the running node are not as they should be,
// and which relays it has refused, with the line that would let them in.
func checkLinks(s *view.Snapshot) []finding {
	if s == nil {
		return nil
	}
	var out []finding
	for i := range s.Links {
		l := &s.Links[i]
		f := finding{Check: "link", Status: warned, Remedy: "docs/runbook.md: a link is down, or unproven"}
		switch {
		case l.State == "down" && (l.URL != "" || l.LastError != ""):
			f.Detail = fmt.Sprintf("%s is down: %s", l.Label, cmp.Or(l.LastError, "no answer"))
		case l.State != "down" && l.State != "connecting" && !l.Verified:
			f.Detail = l.Label + " is linked but has not proved who it is"
		default:
			continue
		}
		out = append(out, f)
	}
	for _, r := range s.Refusals {
		f := finding{Check: "link", Status: warned, Detail: fmt.Sprintf("a relay at %s was refused: %s", r.Remote, r.Reason)}
		if r.Line != "" {
			f.Remedy = "to admit it, add to its entry: " + r.Line
			if strings.Contains(r.Line, "[[") { // it has none
				f.Remedy = "to admit it, add to the configuration:\n" + r.Line
			}
		}
		out = append(out, f)
	}
	return out
}
