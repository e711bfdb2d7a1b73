// Package matrix records which software sealq was tested with, and keeps the
// table in docs/compatibility.md equal to the results of a run.
//
// Tests call [Record]; it writes a line into the folder that the environment
// variable SEALQTEST_MATRIX_DIR names, and does nothing without it. The command
// cmd/matrix turns the lines of a whole run into the table, or compares them
// with the table that is checked in. A row that was not run is missing from the
// lines, which is a difference too: the table cannot claim more than a run has
// shown.
package matrix
