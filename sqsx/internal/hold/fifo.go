package hold

import "time"

const (
	maxGroups   = 64 // message groups that are remembered
	groupMemory = 10 * time.Minute
)

// groups are the message groups of a FIFO queue in which a message did not open
// and kept others back. Each response that holds it takes those with it and
// raises their receive counts. So one message is asked for around the moments
// when it comes back.
type groups map[string]*poison

// poison is the message that does not open.
type poison struct {
	id   string
	seen time.Time
	gap  time.Duration // the shortest between two receives of it; 0: not known yet
}

// note remembers the message groups in which others were held back, until the
// next message of the group is delivered. Only others that are not invalid
// themselves count: junk behind junk takes nobody with it.
func (g *groups) note(messages []Message, now time.Time) {
	for _, m := range messages {
		_, known := (*g)[m.Group]
		switch {
		case m.Behind != "":
			if m.Opened || m.KeyService {
				g.poisoned(m.Group, m.Behind, now)
			}
		case !m.Opened && known:
			g.poisoned(m.Group, m.ID, now)
		case m.Opened && known && m.Group != "":
			delete(*g, m.Group)
		}
	}
}

// poisoned notes that the message was received.
func (g *groups) poisoned(group, id string, now time.Time) {
	if *g == nil {
		*g = make(groups)
	}
	if _, known := (*g)[group]; !known && len(*g) >= maxGroups {
		group = "" // for all that find no room, and for no group: no message that opens ends it
	}
	p := (*g)[group]
	switch {
	case p == nil || p.id != id || group == "":
		p = &poison{id: id}
		(*g)[group] = p
	case now.After(p.seen) && (p.gap == 0 || now.Sub(p.seen) < p.gap):
		p.gap = now.Sub(p.seen)
	}
	p.seen = now
}

func (g *groups) clear() { *g = nil }

// Around a return, in parts of the gap and for the time that it takes to receive
// one message of each group.
const (
	gapSlack    = 20 // a twentieth
	returnSlack = 3 * time.Second
)

// single reports whether one message is to be asked for: because a poison is
// about to come back, or because it is not known when it does. visibility is the
// visibility timeout of the queue, or 0 if that is not known. The receive may
// wait for a message for as long as wait.
func (g *groups) single(now time.Time, visibility, wait time.Duration) bool {
	single := false
	for group, p := range *g {
		age := now.Sub(p.seen)
		if age >= groupMemory {
			delete(*g, group)
			continue
		}
		gap := p.gap
		if gap == 0 {
			gap = visibility
		}
		if gap == 0 {
			single = true
			continue
		}
		// The n-th return, if others have received it meanwhile. What is not
		// known adds up.
		early := gap/gapSlack + wait
		n := max((age+early)/gap, 1)
		if due := n * gap; age >= due-early && age < due+returnSlack*n*time.Duration(len(*g)) {
			single = true
		}
	}
	return single
}
