package cache

import "iter"

// lru is a map bounded to limit entries that drops the least recently used
// one. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	limit int
	index map[K]*node[K, V]
	// root closes a ring: root.next is the most recently used node, root.prev
	// the least recently used.
	root *node[K, V]
}

type node[K comparable, V any] struct {
	prev, next *node[K, V]
	key        K
	value      V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	l := &lru[K, V]{limit: limit}
	l.clear()
	return l
}

func (l *lru[K, V]) len() int { return len(l.index) }

// get returns the value under key, or the zero V, and marks it used.
func (l *lru[K, V]) get(key K) V {
	n := l.index[key]
	if n == nil {
		return *new(V)
	}
	n.unlink()
	l.link(n)
	return n.value
}

// peek returns the value under key, or the zero V, and does not mark it used.
func (l *lru[K, V]) peek(key K) V {
	if n := l.index[key]; n != nil {
		return n.value
	}
	return *new(V)
}

// put sets the value under key and marks it used. If that evicts another entry,
// it returns that one.
func (l *lru[K, V]) put(key K, value V) (old V, evicted bool) {
	if n := l.index[key]; n != nil {
		n.value = value
		n.unlink()
		l.link(n)
		return old, false
	}
	if len(l.index) >= l.limit {
		old, evicted = l.root.prev.value, true
		l.delete(l.root.prev.key)
	}
	n := &node[K, V]{key: key, value: value}
	l.index[key] = n
	l.link(n)
	return old, evicted
}

// oldest yields the least recently used entry, if there is one.
func (l *lru[K, V]) oldest() (key K, value V, ok bool) {
	n := l.root.prev
	return n.key, n.value, n != l.root
}

func (l *lru[K, V]) delete(key K) {
	if n := l.index[key]; n != nil {
		n.unlink()
		delete(l.index, key)
	}
}

func (l *lru[K, V]) clear() {
	l.index = make(map[K]*node[K, V])
	l.root = &node[K, V]{}
	l.root.prev, l.root.next = l.root, l.root
}

// all yields every entry, the most recently used first. The entry that was
// just yielded may be deleted, or put again.
func (l *lru[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for n := l.root.next; n != l.root; {
			next := n.next
			if !yield(n.key, n.value) {
				return
			}
			n = next
		}
	}
}

func (l *lru[K, V]) link(n *node[K, V]) {
	n.prev, n.next = l.root, l.root.next
	n.prev.next, n.next.prev = n, n
}

func (n *node[K, V]) unlink() { n.prev.next, n.next.prev = n.next, n.prev }
