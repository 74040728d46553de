package mounter

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/socket"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Serve answers on a Unix socket, for its owner only, until ctx ends. What is mounted stays mounted.
func Serve(ctx context.Context, path string, tunnels *Tunnels, objects Objects, losses *Losses) error {
	listener, err := socket.Listen(ctx, path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /tunnels/{fileSystem}", handle(func(r *http.Request, in holding) (opened, error) {
		in.FileSystem = r.PathValue("fileSystem")
		port, err := tunnels.Open(r.Context(), in.Tunnel, in.Holder)
		return opened{port}, err
	}))
	mux.HandleFunc("GET /tunnels/{fileSystem}", handle(func(r *http.Request, _ struct{}) (tunnelState, error) {
		return stateOf(tunnels.Failure(r.PathValue("fileSystem"))), nil
	}))
	mux.HandleFunc("DELETE /tunnels/{fileSystem}", handle(func(r *http.Request, in holding) (opened, error) {
		return opened{}, tunnels.Release(r.PathValue("fileSystem"), in.Holder)
	}))
	serveObjects(mux, objects)
	serveLosses(mux, losses)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }, // a call that has begun ends well
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveHTTP(ctx, server, listener) })
	group.Go(func() error { keep(ctx, listener, path); return nil })
	return group.Wait()
}

// keep makes a socket anew that somebody removed, for as long as it takes: tunnels end with this process, and so may the
// programs of buckets, which is worse than not to be reached.
func keep(ctx context.Context, listener *socket.Listener, path string) {
	log := klog.FromContext(ctx).WithValues("socket", path)
	for told := ""; ; {
		err := listener.Keep(ctx, func() {
			if told == "" {
				log.Info("The socket was removed; it is made anew")
			}
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		if err.Error() != told {
			told = err.Error()
			log.Error(err, "The socket cannot be made anew, so that nobody reaches this process; it is tried again")
		}
	}
}

// serveHTTP answers until ctx ends, and then lets running calls finish for a moment.
func serveHTTP(ctx context.Context, server *http.Server, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(err, server.Close())
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// holding is what is asked for a tunnel.
type holding struct {
	volume.Tunnel
	Holder string `json:"holder"`
}

type opened struct {
	Port uint16 `json:"port"`
}

// tunnelState is how a tunnel is.
type tunnelState struct {
	Failure *failure `json:"failure,omitempty"`
}

func stateOf(err error) tunnelState {
	if err == nil {
		return tunnelState{}
	}
	return tunnelState{&failure{fault.KindOf(err), err.Error()}}
}

// failure is how an error crosses the socket.
type failure struct {
	Kind    fault.Kind `json:"kind"`
	Message string     `json:"message"`
}

// maxRequest bounds a request, in bytes.
const maxRequest = 16 << 10

// handle decodes, answers and logs one kind of request.
func handle[In, Out any](do func(*http.Request, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		var out any
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&in)
		if err != nil {
			err = fault.New(fault.Invalid, "read request", r.URL.Path, "%v", err)
		} else {
			out, err = do(r, in)
		}
		log := klog.FromContext(r.Context()).WithValues("request", r.Method+" "+r.URL.Path)
		if err != nil {
			log.Error(err, "Refused", "kind", fault.KindOf(err))
			out = failure{fault.KindOf(err), err.Error()}
			w.WriteHeader(http.StatusUnprocessableEntity)
		} else {
			log.V(2).Info("Done", "answer", out)
		}
		_ = json.NewEncoder(w).Encode(out) // the caller may be gone, and asks again
	}
}
