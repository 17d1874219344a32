package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// gauge counts what is under way. The zero gauge is ready to be used.
type gauge struct {
	mu    sync.Mutex
	count int
	idle  chan struct{} // made by who waits for none
}

func (g *gauge) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
}

func (g *gauge) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count--; g.count == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// wait waits until nothing is under way, and reports false when ctx ends first.
func (g *gauge) wait(ctx context.Context) bool {
	g.mu.Lock()
	if g.count == 0 {
		g.mu.Unlock()
		return true
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return true
	case <-ctx.Done():
		return false
	}
}

// connections counts those that are open.
type connections struct{ gauge }

// observe is a server's ConnState.
func (c *connections) observe(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		c.enter()
	case http.StateClosed, http.StateHijacked:
		c.leave()
	}
}
