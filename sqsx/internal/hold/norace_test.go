//go:build !race

package hold_test

const raceEnabled = false
