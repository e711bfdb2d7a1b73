package hold

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	maxGroups   = 64 // message groups that are remembered
	groupMemory = 10 * time.Minute
)

// groups are the message groups of a FIFO queue in which a message did not open
// and held others back. Each response with that message also contains those,
// and raises their receive counts. So receives ask for one message around the
// times when it comes back.
type groups struct {
	poisons map[string]*poison
	missed  int // receives without a poison since the last one with a poison
}

// poison is the message that does not open.
type poison struct {
	id   string
	seen time.Time
	gap  time.Duration // the shortest between two receives of it; 0: not known yet
}

// note remembers the message groups in which others were held back, until the
// next message of the group is delivered. Invalid messages behind the first do
// not count: junk behind junk harms no healthy message.
func (g *groups) note(messages []Message, now time.Time) {
	g.missed++
	for _, m := range messages {
		_, known := g.poisons[m.Group]
		switch {
		case m.Behind != "":
			if m.Opened || m.KeyService {
				g.poisoned(m.Group, m.Behind, now)
			}
		case !m.Opened && known:
			g.poisoned(m.Group, m.ID, now)
		case m.Opened && known && m.Group != "":
			delete(g.poisons, m.Group)
		}
	}
}

// poisoned notes that the message was received.
func (g *groups) poisoned(group, id string, now time.Time) {
	g.missed = 0
	if g.poisons == nil {
		g.poisons = make(map[string]*poison)
	}
	if _, known := g.poisons[group]; !known && len(g.poisons) >= maxGroups {
		group = "" // for groups beyond the bound, and for no group: no opened message ends it
	}
	p := g.poisons[group]
	switch {
	case p == nil || p.id != id || group == "":
		p = &poison{id: id}
		g.poisons[group] = p
	case now.After(p.seen) && (p.gap == 0 || now.Sub(p.seen) < p.gap):
		p.gap = now.Sub(p.seen)
	}
	p.seen = now
}

func (g *groups) clear() { *g = groups{} }

// The window around a return: parts of the gap, and the time to receive one
// message of each group.
const (
	gapSlack    = 20 // a twentieth
	returnSlack = 3 * time.Second
)

// maxSingle bounds the share of time in which receives ask for one message in
// vain, in parts of the gap. Anyone who may send can write many poisons: the
// more there are, the shorter the window around the return of each.
const maxSingle = 3 // a third

// maxMissed is the number of receives without a poison after which overdue
// poisons are assumed to be at other processes. Then other groups have their
// turn.
const maxMissed = 2

// window is the time around the return of a poison, relative to now.
type window struct{ early, due, late time.Duration }

// single reports whether to ask for one message: because a poison is about to
// come back, or because it is unknown when it does. visibility is the
// visibility timeout of the queue, or 0 if that is unknown. The receive may
// wait for a message for up to wait.
func (g *groups) single(now time.Time, visibility, wait time.Duration) bool {
	unknown := false
	var windows []window
	var period time.Duration // the shortest gap
	for group, p := range g.poisons {
		age := now.Sub(p.seen)
		if age >= groupMemory {
			delete(g.poisons, group)
			continue
		}
		gap := p.gap
		if gap == 0 {
			gap = visibility
		}
		if gap == 0 {
			unknown = true
			continue
		}
		if period == 0 || gap < period {
			period = gap
		}
		// The n-th return, if others have received it meanwhile. The uncertainty adds
		// up.
		early := gap / gapSlack
		n := max((age+early+wait)/gap, 1)
		windows = append(windows, window{early, n*gap - age, returnSlack * n})
	}
	if unknown {
		return true
	}
	for i := range windows {
		w := &windows[i]
		w.late = min(w.late*time.Duration(len(windows)), max(period/maxSingle-w.early, 0))
	}
	slices.SortFunc(windows, func(a, b window) int { return cmp.Compare(a.due, b.due) })
	for covered(windows) > period/maxSingle {
		for i := range windows {
			windows[i].early /= 2
			windows[i].late /= 2
		}
	}
	return slices.ContainsFunc(windows, func(w window) bool {
		// After one poison, the next may follow at once, however long a receive
		// takes.
		if w.due <= 0 && (-w.due < w.late || g.missed < maxMissed) {
			return true
		}
		// A long poll that begins earlier may end within the window.
		return 0 < w.due && w.due <= w.early+wait
	})
}

// covered returns the total length of windows, counting overlaps once. They are
// sorted by when they are due.
func covered(windows []window) (total time.Duration) {
	end := time.Duration(math.MinInt64)
	for _, w := range windows {
		if until := w.due + w.late; until > end {
			total += until - max(w.due-w.early, end)
			end = until
		}
	}
	return total
}
