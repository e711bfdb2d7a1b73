package conformance

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sealq/sealq/integration/matrix"
)

// testCase is one row of the compatibility table.
type testCase struct {
	name string
	run  func(t *testing.T, s *suite)
}

// Run runs the whole suite against target, and records each case.
func Run(t *testing.T, target Target) {
	met := &metDifferences{}
	// A subtest, so that all parallel cases have ended when it returns.
	t.Run("case", func(t *testing.T) {
		cases := slices.Concat(protocolCases(), kmsCases(), sealedCases(), contentCases(), receiveCases(), queueCases(), keyCases(), safetyCases())
		if target.DynamoDB {
			cases = append(cases, slices.Concat(tableCases(), keyStoreCases())...)
		}
		if target.Topics {
			cases = append(cases, topicCases()...)
		}
		for _, c := range cases {
			t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				s := newSuite(target, c.name)
				c.run(t, s)
				met.add(s.met)
				matrix.Record(t, matrix.Row{
					Section: matrix.Conformance,
					Subject: target.Name,
					Version: target.Version,
					What:    c.name,
					Outcome: outcome(s.met),
				})
			})
		}
	})
	for _, d := range target.Differences {
		if !met.has(d) {
			t.Errorf("%s is said to differ, but no case has met it: %s", target.Name, d)
		}
	}
}

// outcome is empty, which is "yes", for a case that met no difference.
func outcome(met []Difference) string {
	var texts []string
	for _, d := range met {
		if !slices.Contains(texts, string(d)) {
			texts = append(texts, string(d))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
}

type metDifferences struct {
	mu  sync.Mutex
	all []Difference
}

func (m *metDifferences) add(ds []Difference) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, ds...)
}

func (m *metDifferences) has(d Difference) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.all, d)
}
