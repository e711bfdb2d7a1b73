//go:build race

package hold_test

// raceEnabled makes a message of the model cost twenty times as much.
const raceEnabled = true
