package socket

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dialer makes connections that end when the other side takes nothing for so long, though it may still be there: a write
// would wait for ever. wait bounds the connecting itself. https://man7.org/linux/man-pages/man7/tcp.7.html (TCP_USER_TIMEOUT)
func Dialer(wait, stuck time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: wait, Control: func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stuck.Milliseconds()))
		})
		if err != nil {
			return err
		}
		return failed
	}}
}
