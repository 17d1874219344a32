//go:build !race

package process

const slowness = 1
