// Package bench measures the framework side by side with raw limits, in one
// run: machines are noisy, and only ratios within a run say something.
//
//	cd bench && go test -bench . -count 5
package bench
