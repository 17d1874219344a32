//go:build race

package crashtest

const slowness = 2
