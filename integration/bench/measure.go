package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// An operation is one call of what is measured.
type operation func() error

// burst is how long each operation runs in one round: long enough for several
// cycles of the garbage collector to fall into it, short enough that much of
// what disturbs the machine falls into few rounds.
const burst = 8 * time.Millisecond

// rounds holds the time of one call of each operation, in nanoseconds, for each
// of many rounds.
type rounds [][]float64

// measure runs operations that are to be compared in turns, in short rounds,
// each round in another order. Times of different runs say little about each
// other; those of one round met the same machine.
func measure(count, cores int, operations ...operation) (rounds, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	runtime.GC()
	calls := make([]int, len(operations))
	for i, f := range operations {
		var err error
		if calls[i], err = calibrate(f); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
	}
	all := make(rounds, count)
	for r := range all {
		all[r] = make([]float64, len(operations))
		for k := range operations {
			i := (k + r) % len(operations)
			if r/len(operations)%2 == 1 {
				i = len(operations) - 1 - i
			}
			var err error
			if all[r][i], err = run(operations[i], calls[i]); err != nil {
				return nil, fmt.Errorf("operation %d: %w", i, err)
			}
		}
	}
	return all, nil
}

// calibrate finds how many calls of f fill a burst.
func calibrate(f operation) (int, error) {
	for n := 1; ; n *= 2 {
		each, err := run(f, n)
		if err != nil {
			return 0, err
		}
		if each*float64(n) >= float64(burst)/2 {
			return max(1, int(float64(burst)/each)), nil
		}
	}
}

// run returns the time that one of n calls of f took. It is processor time,
// garbage collection included: what other processes take from this one is
// mostly not in it. With several cores it is wall-clock time, because there a
// part of the work is done at the same time as another.
func run(f operation, n int) (float64, error) {
	clock := cpuTime
	if runtime.GOMAXPROCS(0) > 1 {
		clock = wallTime
	}
	began := clock()
	for range n {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return float64(clock()-began) / float64(n), nil
}

var processStart = time.Now()

func wallTime() time.Duration { return time.Since(processStart) }

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return wallTime()
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// quiet returns the quarter of the rounds that were disturbed least: those that
// took the shortest time, each operation counting alike.
func (r rounds) quiet() rounds {
	usual := make([]float64, len(r[0]))
	for i := range usual {
		usual[i] = quantile(r.column(i), 0.5)
	}
	took := func(round []float64) float64 {
		sum := 0.0
		for i, t := range round {
			sum += t / usual[i]
		}
		return sum
	}
	sorted := slices.SortedFunc(slices.Values(r), func(a, b []float64) int { return cmp.Compare(took(a), took(b)) })
	return sorted[:(len(sorted)+3)/4]
}

func (r rounds) column(i int) []float64 {
	times := make([]float64, len(r))
	for k, round := range r {
		times[k] = round[i]
	}
	return times
}

// time is the median time of operation i in the quiet rounds.
func (r rounds) time(i int) time.Duration { return time.Duration(quantile(r.quiet().column(i), 0.5)) }

// ratio is the median, over the quiet rounds, of the time of operation i over
// that of operation base in the same round; low and high are the quartiles.
func (r rounds) ratio(i, base int) (median, low, high float64) {
	var ratios []float64
	for _, round := range r.quiet() {
		ratios = append(ratios, round[i]/round[base])
	}
	return quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)
}

// quantile returns the q-th quantile of values, without interpolation.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
