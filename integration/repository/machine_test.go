package repository

import (
	"strings"
	"testing"
)

// TestNothingOfOneMachine looks in every file of the repository for hosts of
// package registries, which are a matter of a machine's settings, and for
// absolute paths into somebody's folders. A "+" keeps this file from holding
// what it looks for.
func TestNothingOfOneMachine(t *testing.T) {
	t.Parallel()
	needles := []string{
		"registry.npm+js.org", "registry.yarn+pkg.com", "py+pi.org", "python+hosted.org",
		"repo1.ma+ven.org", "repo.maven.+apache.org", "plugins.gra+dle.org", "crates+.io", "ruby+gems.org",
		"proxy.go+lang.org", "sum.go+lang.org", "docker+.io", "gh+cr.io", "quay+.io", "gc+r.io", "public.ecr+.aws",
		"/ho+me/", "/Us+ers/", `:\Us+ers\`, "/ro+ot/", "/wo+rk/", "/tm+p/",
	}
	for i, needle := range needles {
		needles[i] = strings.Replace(needle, "+", "", 1)
		if needles[i] == needle {
			t.Fatalf("%q is in one piece", needle)
		}
	}
	for name, text := range tracked(t) {
		for _, needle := range needles {
			if strings.Contains(text, needle) {
				t.Errorf("%s names %s", name, needle)
			}
		}
	}
}
