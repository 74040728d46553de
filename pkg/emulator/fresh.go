package emulator

import (
	"net"
	"net/http"
	"sync"
)

// freshConns are connections on which nothing was asked yet. Clients open some in
// advance, and a server that shuts down would wait seconds for their first request.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note follows a server's connections; it is an [http.Server]'s ConnState.
func (f *freshConns) note(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		f.conns = map[net.Conn]struct{}{}
	}
	if state == http.StateNew {
		f.conns[c] = struct{}{}
	} else {
		delete(f.conns, c)
	}
}

// close closes them.
func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Close() // nothing is under way on it
	}
}
