package key

import "signalbox/engine/control"

// typedUpTo is how long a name may be to be typed as a confirmation.
const typedUpTo = 24

// Typed is the word to type before commands are applied, in proportion to whom
// they harm: what cuts off many and cannot be taken back asks for one, whichever
// way the command was begun; empty: y is enough.
func Typed(cmds []control.Command) string {
	if len(cmds) == 0 {
		return ""
	}
	switch c := cmds[0]; {
	case c.Kind == control.NodeDrain:
		return "drain"
	case c.Kind == control.RoomClose:
		return typeable(c.Target, "close")
	case c.Kind == control.ShardFlush && len(cmds) > 1:
		return "flush"
	}
	return ""
}

// typeable is the name itself where a keyboard can write it, or else a plain
// word.
func typeable(name, word string) string {
	if name == "" || len(name) > typedUpTo {
		return word
	}
	for _, r := range name {
		if r <= ' ' || r > '~' {
			return word
		}
	}
	return name
}
